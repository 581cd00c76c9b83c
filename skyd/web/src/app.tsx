// Layout of the page: banner, navigation, tree, graph, details, time, and the open panel.

import type { ComponentChildren } from "preact";
import { isLoggedIn, logout } from "./net/login.ts";
import { needsLogin } from "./net/rest.ts";
import { Notices } from "./parts/notices.tsx";
import { dateTime } from "./parts/units.ts";
import { Captures } from "./panels/captures.tsx";
import { Details } from "./panels/details/index.tsx";
import { Flows } from "./panels/flows.tsx";
import { Graph } from "./panels/graph.tsx";
import { Health } from "./panels/health.tsx";
import { Login } from "./panels/login.tsx";
import { QueryField } from "./panels/query.tsx";
import { QueryResult } from "./panels/result.tsx";
import { Time } from "./panels/time.tsx";
import { Tree } from "./panels/tree.tsx";
import type { Panel } from "./state/address.ts";
import { loadedVersion, problems, version } from "./state/health.ts";
import { connection } from "./state/session.ts";
import { activeTheme, switchTheme } from "./state/theme.ts";
import { panel, pastTime, togglePanel } from "./state/view.ts";

const CONTENTS: Partial<Record<Panel, () => ComponentChildren>> = {
  Flows: () => <Flows />,
  Captures: () => <Captures />,
  Health: () => <Health />,
};

export function App() {
  if (needsLogin.value) {
    return (
      <>
        <Banner />
        <main><Login /></main>
      </>
    );
  }
  const isDim = connection.value === "lost";
  return (
    <>
      <Banner />
      <Navigation />
      <Alerts />
      <main class={isDim ? "dim" : undefined}>
        <Tree />
        <Graph />
        <Details />
      </main>
      <Time />
      <QueryResult />
      <OpenPanel />
      <Notices />
    </>
  );
}

function Banner() {
  return (
    <header class="banner">
      <h1>skyd</h1>
      {!needsLogin.value && <QueryField />}
      <p class={`connection ${connection.value}`} role="status" aria-label="Connection">{connectionText()}</p>
      <button type="button" class="theme" aria-label={activeTheme.value === "dark" ? "Light theme" : "Dark theme"} onClick={switchTheme}>
        {activeTheme.value === "dark" ? "☀" : "☾"}
      </button>
      {isLoggedIn.value && <button type="button" onClick={() => void logout()}>Log out</button>}
    </header>
  );
}

function connectionText(): string {
  switch (connection.value) {
    case "live":
      return "Live";
    case "past":
      return `Past: ${dateTime(pastTime.value ?? 0)}`;
    case "lost":
      return "Reconnecting";
    default:
      return "Connecting";
  }
}

function Navigation() {
  const count = problems.value;
  const health = count === 0 ? "Health: ok" : `Health: ${count} problem${count === 1 ? "" : "s"}`;
  return (
    <nav class="panels" aria-label="Panels">
      {(Object.keys(CONTENTS) as Panel[]).map((name) => (
        <button key={name} type="button" class={name === "Health" && count > 0 ? "problem" : undefined} aria-expanded={panel.value === name} onClick={() => togglePanel(name)}>
          {name === "Health" ? health : name}
        </button>
      ))}
    </nav>
  );
}

/** States that concern the whole page. */
function Alerts() {
  const isOutdated = loadedVersion.value !== version.value;
  return (
    <>
      {connection.value === "lost" && (
        <p class="page-alert" role="alert">Connection lost. What is shown may be out of date; the page connects again by itself.</p>
      )}
      {isOutdated && (
        <p class="page-alert">
          The daemon is now version {version.value}. <button type="button" onClick={() => location.reload()}>Reload</button>
        </p>
      )}
    </>
  );
}

function OpenPanel() {
  const name = panel.value;
  const content = name === null ? undefined : CONTENTS[name];
  if (name === null || !content) {
    return null;
  }
  return (
    <section class="panel" aria-label={name} key={name}>
      <header>
        <h2>{name}</h2>
        <button type="button" class="close" aria-label={`Close ${name}`} onClick={() => togglePanel(name)}>×</button>
      </header>
      {content()}
    </section>
  );
}
