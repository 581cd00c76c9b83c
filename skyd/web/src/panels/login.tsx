// The login form, over the page when the daemon refuses requests.

import { useSignal } from "@preact/signals";
import { login } from "../net/login.ts";
import { errorText } from "../net/rest.ts";
import { ErrorText } from "../parts/error_text.tsx";

export function Login() {
  const error = useSignal("");
  const submit = async (event: Event) => {
    event.preventDefault();
    const form = new FormData(event.target as HTMLFormElement);
    error.value = "";
    try {
      await login(String(form.get("username")), String(form.get("password")));
    } catch (failure) {
      error.value = errorText(failure);
    }
  };
  return (
    <div class="login">
      <form aria-label="Log in" onSubmit={submit}>
        <h2>Log in</h2>
        <p class="field">
          <label for="login-user">User</label>
          <input id="login-user" name="username" type="text" autocomplete="username" required autofocus />
        </p>
        <p class="field">
          <label for="login-password">Password</label>
          <input id="login-password" name="password" type="password" autocomplete="current-password" required />
        </p>
        <ErrorText text={error.value} />
        <div class="buttons">
          <button type="submit" class="primary">
            Log in
          </button>
        </div>
      </form>
    </div>
  );
}
