// Login and logout. The session token is only in a cookie: never in an address or in storage.

import { readStatus } from "../state/health.ts";
import { disconnect, reconnect } from "../state/session.ts";
import { RequestError, needsLogin } from "./rest.ts";

/** Logs in and connects again.
 *
 * Throws a `RequestError` if the daemon refuses the user or the password. */
export async function login(username: string, password: string): Promise<void> {
  const response = await fetch("/login", {
    method: "POST",
    headers: { "X-Requested-With": "skyd" },
    body: new URLSearchParams({ username, password }),
  });
  if (!response.ok) {
    throw new RequestError(
      response.status,
      response.status === 401 ? "Wrong user or password" : (await response.text()).trim(),
    );
  }
  needsLogin.value = false;
  reconnect();
  await readStatus();
}

/** Ends the session; the daemon deletes its cookies. */
export async function logout(): Promise<void> {
  await fetch("/logout", { method: "POST", headers: { "X-Requested-With": "skyd" } }).catch(() => undefined);
  disconnect();
  needsLogin.value = true;
}
