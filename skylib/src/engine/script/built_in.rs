//! Built-in workflows.
//!
//! COMPAT: the workflows have the IDs, parameters, and results of Skydive's workflows; the sources
//! are new.

use serde_json::json;

use crate::api::{Resource as _, Workflow, WorkflowChoice, WorkflowParameter};

/// Returns the built-in workflows.
pub(crate) fn workflows() -> Vec<Workflow> {
    vec![
        check_connectivity(),
        check_mtu(),
        flow_matrix(),
        flow_validation(),
    ]
}

/// Returns the workflow that sends ICMP echo requests between two nodes.
fn check_connectivity() -> Workflow {
    built_in("85757b38-6e21-11e8-b42d-28d2442e1329", "CheckConnectivity")
        .with_title("Check connectivity")
        .with_summary("Checks that packets pass between two nodes")
        .with_description(
            "Captures on the shortest path between two nodes, sends five ICMP echo requests from \
             one to the other, and checks that they are answered.",
        )
        .with_parameters(vec![
            parameter("source", "node", "Source node"),
            parameter("destination", "node", "Destination node"),
        ])
        .with_source(include_str!("workflows/check_connectivity.js"))
}

/// Returns the workflow that compares the MTU of the nodes of a path.
fn check_mtu() -> Workflow {
    built_in("85757b38-6e21-11e8-b42d-28d2442e1325", "CheckMTU")
        .with_title("Check MTU")
        .with_summary("Checks the MTU along a path")
        .with_description(
            "Checks that the MTU never decreases on the shortest path from one node to another.",
        )
        .with_parameters(vec![
            parameter("source", "node", "Source node"),
            parameter("destination", "node", "Destination node"),
        ])
        .with_source(include_str!("workflows/check_mtu.js"))
}

/// Returns the workflow that lists connections between processes.
fn flow_matrix() -> Workflow {
    built_in("bcc2e200-7a57-11e8-913c-28d2442e1325", "FlowMatrix")
        .with_title("Flow matrix")
        .with_summary("Shows which processes are connected")
        .with_description(
            "Lists the connections between processes of all hosts, as a graph or in the DOT \
             format. Hosts need the probe socketinfo.",
        )
        .with_parameters(vec![
            parameter("useFlows", "boolean", "Use flows in addition to sockets")
                .with_default(json!(false)),
            choice(
                parameter("format", "choice", "Output format").with_default(json!("graph")),
                &[
                    ("graph", "Nodes and edges"),
                    ("dot", "Text in the DOT format"),
                ],
            ),
            parameter("debug", "boolean", "Print debug messages").with_default(json!(false)),
        ])
        .with_source(include_str!("workflows/flow_matrix.js"))
}

/// Returns the workflow that finds the nodes that flows do not reach.
fn flow_validation() -> Workflow {
    built_in("1c79a9d2-6fcb-4e10-7d40-78819b07781c", "FlowValidation")
        .with_title("Flow validation")
        .with_summary("Checks that flows pass all checkpoints")
        .with_description(
            "Captures on two checkpoints, or on all nodes between them, and returns the nodes \
             that matching flows did not reach.",
        )
        .with_parameters(vec![
            parameter("Checkpoint-1", "node", "First checkpoint"),
            parameter("Checkpoint-2", "node", "Second checkpoint"),
            parameter("All", "boolean", "Check all nodes between the checkpoints"),
            choice(
                parameter("Protocol", "choice", "Protocol").with_default(json!("icmp")),
                &[("icmp", "ICMP"), ("tcp", "TCP"), ("udp", "UDP")],
            ),
            parameter("Source-IP", "string", "Source address"),
            parameter("Destination-IP", "string", "Destination address"),
            parameter("ID/Port", "string", "ICMP identifier, or port"),
            parameter("Time", "integer", "Seconds to capture").with_default(json!(5)),
        ])
        .with_source(include_str!("workflows/flow_validation.js"))
}

fn built_in(id: &str, name: &str) -> Workflow {
    let mut workflow = Workflow::new(name, "");
    workflow.set_id(id.to_owned());
    workflow
}

fn parameter(name: &str, kind: &str, description: &str) -> WorkflowParameter {
    WorkflowParameter::default()
        .with_name(name)
        .with_parameter_type(kind)
        .with_description(description)
}

fn choice(parameter: WorkflowParameter, values: &[(&str, &str)]) -> WorkflowParameter {
    let choice = |(value, description): &(&str, &str)| {
        WorkflowChoice::default()
            .with_value(*value)
            .with_description(*description)
    };
    parameter.with_values(values.iter().map(choice).collect::<Vec<_>>())
}
