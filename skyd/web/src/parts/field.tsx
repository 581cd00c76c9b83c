// Fields of forms: a label with its input.

interface Common {
  label: string;
  name: string;
  hint?: string;
}

interface TextProps extends Common {
  value?: string;
  isRequired?: boolean;
  lines?: number;
  /** Values that the browser offers, with their names. */
  suggestions?: readonly [string, string][];
}

export function TextField(props: TextProps) {
  const { label, name, hint, value = "", isRequired = false, lines = 1, suggestions = [] } = props;
  const common = {
    id: `field-${name}`,
    name,
    defaultValue: value,
    required: isRequired,
    spellcheck: false,
    autocomplete: "off" as const,
  };
  return (
    <p class="field">
      <label for={common.id}>{label}</label>
      {lines > 1 ? (
        <textarea {...common} rows={lines} />
      ) : (
        <input type="text" {...common} list={suggestions.length > 0 ? `${common.id}-list` : undefined} />
      )}
      {suggestions.length > 0 && (
        <datalist id={`${common.id}-list`}>
          {suggestions.map(([text, title]) => (
            <option key={title} value={text} label={title} />
          ))}
        </datalist>
      )}
      {hint && <small>{hint}</small>}
    </p>
  );
}

interface NumberProps extends Common {
  value?: number | undefined;
  min?: number;
  max?: number;
}

export function NumberField({ label, name, hint, value, min = 0, max }: NumberProps) {
  const id = `field-${name}`;
  return (
    <p class="field">
      <label for={id}>{label}</label>
      <input
        type="number"
        id={id}
        name={name}
        defaultValue={value === undefined ? "" : String(value)}
        min={min}
        max={max}
      />
      {hint && <small>{hint}</small>}
    </p>
  );
}

interface ChoiceProps extends Common {
  /** Values and their texts. */
  options: [string, string][];
  value?: string;
}

export function ChoiceField({ label, name, hint, options, value = "" }: ChoiceProps) {
  const id = `field-${name}`;
  return (
    <p class="field">
      <label for={id}>{label}</label>
      <select id={id} name={name} defaultValue={value}>
        {options.map(([option, text]) => (
          <option key={option} value={option}>
            {text}
          </option>
        ))}
      </select>
      {hint && <small>{hint}</small>}
    </p>
  );
}

interface SelectProps {
  /** Accessible name. */
  name: string;
  /** Values and their texts. */
  options: readonly (readonly [string, string])[];
  value: string;
  onChange: (value: string) => void;
}

/** A choice that acts at once, outside of a form. */
export function Select({ name, options, value, onChange }: SelectProps) {
  return (
    <select aria-label={name} value={value} onChange={(event) => onChange(event.currentTarget.value)}>
      {options.map(([option, text]) => (
        <option key={option} value={option}>
          {text}
        </option>
      ))}
    </select>
  );
}

interface FileProps extends Common {
  /** Extensions of the files that the browser offers. */
  accept: string;
}

export function FileField({ label, name, hint, accept }: FileProps) {
  const id = `field-${name}`;
  return (
    <p class="field">
      <label for={id}>{label}</label>
      <input type="file" id={id} name={name} accept={accept} />
      {hint && <small>{hint}</small>}
    </p>
  );
}

export function CheckField({ label, name, isChecked = false }: { label: string; name: string; isChecked?: boolean }) {
  return (
    <p class="field check">
      <label>
        <input type="checkbox" name={name} defaultChecked={isChecked} /> {label}
      </label>
    </p>
  );
}

/** Returns a text of a form, without white space around it. */
export function formText(form: FormData, name: string): string {
  return String(form.get(name) ?? "").trim();
}

/** Returns a number of a form; `undefined` if the field is empty. */
export function formNumber(form: FormData, name: string): number | undefined {
  const text = formText(form, name);
  return text === "" ? undefined : Number(text);
}
