// The dialogs of the selected nodes and of the page.

import { openDialog } from "../state/dialogs.ts";
import { KEYS } from "../state/key_help.ts";
import { hasLetterKeys, setLetterKeys } from "../state/keyboard.ts";
import { selectedNodes } from "../state/selected.ts";
import { CaptureDialog } from "./capture_dialog.tsx";
import { FavoritesDialog } from "./favorites_dialog.tsx";
import { InjectionDialog } from "./injections.tsx";
import { PathDialog } from "./path_dialog.tsx";
import { Dialog } from "../parts/dialog.tsx";
import { ratesInBits, setRatesInBits } from "../parts/rate_unit.ts";

const close = () => {
  openDialog.value = null;
};

export function Dialogs() {
  const nodes = selectedNodes.value;
  const [node, target] = nodes;
  switch (openDialog.value) {
    case "capture":
      return node ? <CaptureDialog nodes={nodes} onClose={close} /> : null;
    case "inject":
      return node ? <InjectionDialog node={node} target={target} onClose={close} /> : null;
    case "path":
      return node ? <PathDialog node={node} target={target} onClose={close} /> : null;
    case "keys":
      return <KeysDialog />;
    case "favorites":
      return <FavoritesDialog onClose={close} />;
    default:
      return null;
  }
}

function KeysDialog() {
  return (
    <Dialog title="Keys" action="OK" onSubmit={async () => {}} onClose={close}>
      <p class="field check">
        <label>
          <input
            type="checkbox"
            checked={hasLetterKeys.value}
            onChange={(event) => setLetterKeys(event.currentTarget.checked)}
          />{" "}
          Single letters are shortcuts
        </label>
      </p>
      <p class="field check">
        <label>
          <input
            type="checkbox"
            checked={ratesInBits.value}
            onChange={(event) => setRatesInBits(event.currentTarget.checked)}
          />{" "}
          Rates are in bits per second
        </label>
      </p>
      <table class="values" aria-label="Keys">
        <tbody>
          {KEYS.map(([key, text]) => (
            <tr key={key}>
              <th scope="row">
                <kbd>{key}</kbd>
              </th>
              <td>{text}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Dialog>
  );
}
