//! A way to find out beforehand whether the broker would take what the line has to say.

use super::client::{self, Signal, Wish};
use super::{PublishError, PublisherSpec};

/// Connects as the line would, publishes nothing, and disconnects.
///
/// A client id of its own keeps a running line connected.
pub fn probe(spec: &PublisherSpec) -> Result<(), PublishError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(PublishError::Thread)?;
    let wish = Wish {
        client_id: format!("{}-check-{}", spec.client_id, std::process::id()),
        clean: true,
        will: None,
        requests: 1,
        packet_ids: None,
    };
    let (client, mut events) = client::open_now(spec, wish, &mut None)?;
    let silent = || PublishError::Silent { address: spec.address() };
    let answer = runtime.block_on(async {
        let polite = async {
            loop {
                let signal = match events.next().await {
                    Ok(signal) => signal,
                    Err(failure) => return Err(events.error(spec, failure).await),
                };
                match signal {
                    Signal::Connected(granted) if !granted.sure => {
                        return Err(PublishError::NoQos1 { address: spec.address() });
                    }
                    // The channel has room for one request and this is the first.
                    Signal::Connected(_) => client.try_disconnect().map_err(|_| silent())?,
                    Signal::Goodbye => return Ok(()),
                    _ => {}
                }
            }
        };
        // Twice the time of one attempt: name lookup is not covered by rumqttc's own limit on every platform.
        tokio::time::timeout(spec.connect_timeout * 2, polite).await.unwrap_or_else(|_| Err(silent()))
    });
    // A name lookup may hang for long; nobody waits for it.
    runtime.shutdown_background();
    answer
}
