//! `/ws/subscriber/flow`: sends flows when they are updated and when they end.

use skylib::proto::{FLOW, STATS, UpdatePolicy};

use super::client::Client;
use super::connection::{Connection, ConnectionEnd, Reader};

/// Sends flows until the connection ends. Messages of the client are ignored.
pub(crate) async fn run(client: &Client, connection: &mut Connection) -> ConnectionEnd {
    // A client without namespaces receives each flow once, and not again in the namespace of its
    // capture.
    let namespaces = match &client.hello.namespaces {
        None if !client.hello.chose_namespaces => Some(vec![FLOW.to_owned(), STATS.to_owned()]),
        chosen => chosen.clone(),
    };
    let options = client.app.subscribe_options(namespaces);
    let mut flows = client.app.engine.subscribe_flows(options);
    client.registration.set_connected();
    let Connection { reader, writer } = connection;
    let write = async {
        loop {
            tokio::select! {
                () = writer.ping_time() => writer.ping().await?,
                message = flows.next() => {
                    let mut message = message.ok_or(ConnectionEnd::Cut)?;
                    writer.pace().await;
                    loop {
                        let bytes = message.encoded(client.encoding, UpdatePolicy::Full);
                        writer.feed(bytes).await?;
                        writer.ping_if_due().await?;
                        match flows.try_next() {
                            Some(next) => message = next,
                            None => break,
                        }
                    }
                    writer.flush().await?;
                }
            }
        }
    };
    let end = tokio::select! {
        end = ignore(reader) => end,
        end = write => match end {
            Ok(never) => never,
            Err(end) => end,
        },
    };
    if end == ConnectionEnd::Stuck {
        flows.cut_off();
    }
    end
}

/// Reads and ignores messages until the connection ends.
async fn ignore(reader: &mut Reader) -> ConnectionEnd {
    loop {
        if let Err(end) = reader.next().await {
            return end;
        }
    }
}
