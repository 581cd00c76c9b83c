// Health of the daemon: every counter of losses, each probe, and how far history reaches.

import { label } from "../parts/names.ts";
import { amount, dateTime } from "../parts/units.ts";
import { numberOf, valueAt } from "../parts/json.ts";
import { type Agent, type Probe, agents, faults, losses, probes, status, version } from "../state/health.ts";
import { Grid, ValueTable, flatten } from "./details/tables.tsx";

/** What to do about a probe that does not run, by its state. */
function advice(probe: Probe): string {
  if (probe.state === "running") {
    return "";
  }
  return probe.error || "See the log of the daemon; GET /api/status has the details.";
}

function reach(store: string): string {
  const oldest = numberOf(valueAt(status.value ?? undefined, `History.${store}`), "Oldest");
  return oldest > 0 ? `${store}: back to ${dateTime(oldest)}.` : `${store}: nothing stored yet, or history is off.`;
}

function agentState({ isConnected, isSilent }: Agent): string {
  return !isConnected ? "not connected" : isSilent ? "did not answer its last flow query" : "connected";
}

function since(text: string): string {
  const time = Date.parse(text);
  return Number.isNaN(time) || time <= 0 ? "" : dateTime(time);
}

export function Health() {
  const sorted = [...losses.value].sort(([, a], [, b]) => Number(b > 0) - Number(a > 0));
  return (
    <div class="columns" tabIndex={0} role="group" aria-label="Losses, probes, and history">
      <div>
        <h3>Losses</h3>
        <table class="values losses" aria-label="Losses">
          <tbody>
            {sorted.map(([name, count]) => (
              <tr key={name} class={count > 0 ? "problem" : undefined}>
                <th scope="row">{name}</th>
                <td>{amount(count)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <div>
        {faults.value.length > 0 && (
          <Grid
            name="Errors"
            columns={["Component", "Error"]}
            rows={faults.value.map(([name, text]) => [label(name, 80), label(text, 300)])}
          />
        )}
        <h3>Probes</h3>
        <Grid
          name="Probes"
          columns={["Probe", "State", "What to do"]}
          rows={probes.value.map((probe) => [label(probe.name, 60), label(probe.state, 60), label(advice(probe), 300)])}
        />
        {agents.value.length > 0 && (
          <>
            <h3>Agents and analyzers</h3>
            <Grid
              name="Agents"
              columns={["Host", "Address", "State", "Since"]}
              rows={agents.value.map((agent) => [
                label(agent.name, 60),
                label(agent.address, 60),
                agentState(agent),
                since(agent.since),
              ])}
            />
          </>
        )}
        <h3>History</h3>
        <p>
          {reach("Topology")} {reach("Flows")}
        </p>
        <details>
          <summary>Everything that the daemon reports</summary>
          <ValueTable name="Status" rows={flatten(status.value)} />
        </details>
        <p>Version {label(version.value, 40)} of skyd.</p>
      </div>
    </div>
  );
}
