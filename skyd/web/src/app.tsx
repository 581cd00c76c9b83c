// Layout of the page: banner, navigation, tree, graph, details, time, and the open panel.

import type { ComponentChildren } from "preact";
import { logout } from "./net/login.ts";
import { needsLogin } from "./net/rest.ts";
import { label } from "./parts/names.ts";
import { Notices } from "./parts/notices.tsx";
import { Splitter } from "./parts/splitter.tsx";
import { useReveal } from "./parts/reveal.ts";
import { isStorageMissing } from "./parts/storage.ts";
import { dateTime } from "./parts/units.ts";
import { Alerts } from "./panels/alerts.tsx";
import { Captures } from "./panels/captures.tsx";
import { Changes } from "./panels/changes.tsx";
import { Comparison } from "./panels/comparison.tsx";
import { Details } from "./panels/details/index.tsx";
import { Dialogs } from "./panels/dialogs.tsx";
import { Flows } from "./panels/flows.tsx";
import { Graph } from "./panels/graph.tsx";
import { Health } from "./panels/health.tsx";
import { Injections } from "./panels/injections.tsx";
import { Login } from "./panels/login.tsx";
import { NodeMenu } from "./panels/node_menu.tsx";
import { PathPanel } from "./panels/path.tsx";
import { QueryField } from "./panels/query.tsx";
import { QueryResult } from "./panels/result.tsx";
import { Rules } from "./panels/rules.tsx";
import { Time } from "./panels/time.tsx";
import { SppCaptures } from "./panels/spp.tsx";
import { Tree } from "./panels/tree.tsx";
import { Workflows } from "./panels/workflows.tsx";
import { PANELS, type Panel } from "./state/address.ts";
import { openDialog } from "./state/dialogs.ts";
import { loadedVersion, problems, version } from "./state/health.ts";
import { userName } from "./state/me.ts";
import { connection, isPolling } from "./state/session.ts";
import { hasSpp } from "./state/spp.ts";
import { activeTheme, switchTheme } from "./state/theme.ts";
import { panel, pastTime, savedGraph, togglePanel } from "./state/view.ts";

const CONTENTS: Record<Panel, () => ComponentChildren> = {
  Flows: () => <Flows />,
  Captures: () => <Captures />,
  Injections: () => <Injections />,
  Alerts: () => <Alerts />,
  Rules: () => <Rules />,
  Workflows: () => <Workflows />,
  Changes: () => <Changes />,
  "SPP captures": () => <SppCaptures />,
  Health: () => <Health />,
};

export function App() {
  if (needsLogin.value) {
    return (
      <>
        <Banner />
        <main>
          <Login />
        </main>
      </>
    );
  }
  const isDim = connection.value === "lost";
  return (
    <>
      <PageAlerts />
      <Banner />
      <Navigation />
      <main class={isDim ? "dim" : undefined}>
        <Tree />
        <Splitter name="Width of the tree" variable="--tree-width" initial={300} min={150} max={700} />
        <Graph />
        <Details />
      </main>
      <Time />
      <QueryResult />
      <PathPanel />
      <Comparison />
      <OpenPanel />
      <Notices />
      <Dialogs />
      <NodeMenu />
    </>
  );
}

function Banner() {
  return (
    <header class="banner">
      <h1>skyd</h1>
      {!needsLogin.value && <QueryField />}
      <p class={`connection ${connection.value}`} role="status" aria-label="Connection">
        {connectionText()}
      </p>
      <button
        type="button"
        class="theme"
        aria-label={activeTheme.value === "dark" ? "Light theme" : "Dark theme"}
        onClick={switchTheme}
      >
        {activeTheme.value === "dark" ? "☀" : "☾"}
      </button>
      {!needsLogin.value && (
        <>
          <button
            type="button"
            aria-label="Favorites"
            title="Favorites: views with a name"
            onClick={() => (openDialog.value = "favorites")}
          >
            ★
          </button>
          <button type="button" aria-label="Keys" title="Keys (?)" onClick={() => (openDialog.value = "keys")}>
            ?
          </button>
        </>
      )}
      {!needsLogin.value && userName() !== "" && (
        <button type="button" title={`Logged in as ${label(userName(), 60)}`} onClick={() => void logout()}>
          Log out
        </button>
      )}
    </header>
  );
}

function connectionText(): string {
  switch (connection.value) {
    case "live":
      return "Live";
    case "past":
      return `Past: ${dateTime(pastTime.value ?? 0)}`;
    case "saved":
      return `Saved: ${savedGraph.value ?? ""}`;
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
      {PANELS.filter((name) => name !== "SPP captures" || hasSpp.value).map((name) => (
        <button
          key={name}
          type="button"
          class={name === "Health" && count > 0 ? "problem" : undefined}
          aria-expanded={panel.value === name}
          onClick={() => togglePanel(name)}
        >
          {name === "Health" ? health : name}
        </button>
      ))}
    </nav>
  );
}

/** States that concern the whole page. */
function PageAlerts() {
  const isOutdated = loadedVersion.value !== version.value;
  return (
    <>
      {connection.value === "lost" && (
        <p class="page-alert" role="alert">
          Connection lost. What is shown may be out of date; the page connects again by itself.
        </p>
      )}
      {isPolling.value && (
        <p class="page-alert" role="alert">
          The WebSocket cannot be opened, for example because a proxy blocks it. The page asks every 5 seconds instead.
        </p>
      )}
      {isStorageMissing.value && (
        <p class="page-alert" role="alert">
          This browser stores nothing: sizes, queries, and favorites are forgotten when the page is closed.
        </p>
      )}
      {isOutdated && (
        <p class="page-alert">
          The daemon is now version {version.value}.{" "}
          <button type="button" onClick={() => location.reload()}>
            Reload
          </button>
        </p>
      )}
    </>
  );
}

function OpenPanel() {
  const name = panel.value;
  const element = useReveal<HTMLElement>(name);
  if (name === null) {
    return null;
  }
  return (
    <section class="panel sized" aria-label={name} key={name} ref={element}>
      <Splitter
        name="Height of the panel"
        variable="--panel-height"
        isHorizontal
        isAfter
        initial={300}
        min={120}
        max={900}
      />
      <header>
        <h2>{name}</h2>
        <button type="button" class="close" aria-label={`Close ${name}`} onClick={() => togglePanel(name)}>
          ×
        </button>
      </header>
      {CONTENTS[name]()}
    </section>
  );
}
