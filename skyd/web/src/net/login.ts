// Login and logout. The session token is only in a cookie: never in an address or in storage.

import { readStatus } from "../state/health.ts";
import { disconnect, reconnect } from "../state/session.ts";
import { RequestError, needsLogin, request, send } from "./rest.ts";

/** Logs in and connects again.
 *
 * Throws a `RequestError` if the daemon refuses the user or the password. */
export async function login(username: string, password: string): Promise<void> {
  await request("/login", { method: "POST", body: new URLSearchParams({ username, password }) }).catch(
    (error: RequestError) => {
      throw error.status === 401 ? new RequestError(401, "Wrong user or password") : error;
    },
  );
  needsLogin.value = false;
  reconnect();
  await readStatus();
}

/** Ends the session; the daemon deletes its cookies. */
export async function logout(): Promise<void> {
  await send("POST", "/logout").catch(() => undefined);
  disconnect();
  needsLogin.value = true;
}
