// The dialog of favorites: opens, names, deletes, exports, and imports views.

import { useSignal } from "@preact/signals";
import { errorText } from "../net/rest.ts";
import { Dialog } from "../parts/dialog.tsx";
import { FileButton } from "../parts/file_button.tsx";
import { TextField, formText } from "../parts/field.tsx";
import { counted, label } from "../parts/names.ts";
import { saveFile } from "../parts/save.ts";
import {
  addFavorite,
  deleteFavorite,
  favorites,
  favoritesText,
  importFavorites,
  openFavorite,
} from "../state/favorites.ts";

export function FavoritesDialog({ onClose }: { onClose: () => void }) {
  const note = useSignal("");
  const load = async (file: File) => {
    try {
      note.value = `Imported ${counted(importFavorites(await file.text()), "favorite")}.`;
    } catch (error) {
      note.value = errorText(error);
    }
  };
  const save = () => saveFile("favorites.json", new Blob([favoritesText()], { type: "application/json" }));
  return (
    <Dialog
      title="Favorites"
      action="Save this view"
      onClose={onClose}
      onSubmit={async (form) => addFavorite(formText(form, "name"))}
    >
      {favorites.value.length === 0 && (
        <p class="note">A favorite is a view with a name: its query, selection, filter, time, and panels.</p>
      )}
      <ul class="favorites" aria-label="Favorites">
        {favorites.value.map((favorite) => (
          <li key={`${favorite.isShared ?? false} ${favorite.name}`}>
            <button type="button" class="link" onClick={() => (openFavorite(favorite), onClose())}>
              {label(favorite.name, 100)}
            </button>
            {favorite.isShared ? (
              <small>of the daemon's configuration</small>
            ) : (
              <button
                type="button"
                class="copy"
                aria-label={`Delete ${label(favorite.name, 60)}`}
                onClick={() => deleteFavorite(favorite.name)}
              >
                ×
              </button>
            )}
          </li>
        ))}
      </ul>
      <p class="row-actions">
        <button type="button" onClick={save}>
          Export
        </button>
        <FileButton text="Import" label="Favorites file" accept=".json,application/json" onChoose={load} />
        <span role="status" aria-label="Import">
          {note.value}
        </span>
      </p>
      <TextField label="Name" name="name" isRequired />
    </Dialog>
  );
}
