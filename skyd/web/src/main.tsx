// Starts the page.

import { render } from "preact";
import "uplot/dist/uPlot.min.css";
import "./style/tokens.css";
import "./style/layout.css";
import "./style/parts.css";
import "./style/panels.css";
import "./style/menus.css";
import { App } from "./app.tsx";
import { startClock } from "./parts/clock.ts";
import { followAlerts } from "./state/alerts.ts";
import { startHealth } from "./state/health.ts";
import { followConfiguration } from "./state/configuration.ts";
import { followKeys } from "./state/keyboard.ts";
import { followScene } from "./state/layout.ts";
import { followQuery } from "./state/query.ts";
import { startSession } from "./state/session.ts";
import { applyTheme } from "./state/theme.ts";
import { followSelection } from "./state/title.ts";
import { followAddress } from "./state/view.ts";

applyTheme();
followAddress();
startClock();
startSession();
startHealth();
followQuery();
followSelection();
followAlerts();
followKeys();
followScene();
followConfiguration();
const root = document.getElementById("app");
if (root) {
  render(<App />, root);
}
