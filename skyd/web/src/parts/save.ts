// Saves data as a file of the user.

/** Time after which the browser has read the data. */
const RELEASE_MS = 60_000;

/** Saves a file; its name contains only letters, digits, dots, and dashes. */
export function saveFile(name: string, data: Blob): void {
  const address = URL.createObjectURL(data);
  const link = document.createElement("a");
  link.href = address;
  link.download = name
    .replace(/[^A-Za-z0-9.]+/g, "-")
    .replace(/^-+/, "")
    .slice(0, 120);
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), RELEASE_MS);
}
