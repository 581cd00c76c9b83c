//! Checks of SPP requests and of replies of its processes. The first byte selects the kind.

use std::path::Path;

use skylib::spp::{Action, Launch, PortId, Reply};

/// Panics if parsing panics, if an error contains more than a bounded part of the request, or if an
/// instance would write outside its root.
pub(crate) fn check(input: &[u8]) {
    let Some((kind, body)) = input.split_first() else {
        return;
    };
    match kind % 4 {
        0 => {
            if let Err(error) = Action::parse(body) {
                is_short(&error);
            }
        }
        1 => check_launch(body),
        2 => {
            if let Ok(reply) = Reply::parse(body) {
                assert!(
                    reply
                        .refusal()
                        .is_none_or(|text| text.len() <= MAX_ERROR_LEN)
                );
                assert!(reply.info.is_none_or(|info| info.get().len() <= body.len()));
            }
        }
        _ => match std::str::from_utf8(body).map(str::parse::<PortId>) {
            Ok(Ok(port)) => assert_eq!(port.to_string().parse::<PortId>().ok(), Some(port)),
            Ok(Err(error)) => is_short(&error),
            Err(_) => {}
        },
    }
}

fn check_launch(body: &[u8]) {
    // A folder in which none of the requested paths can exist.
    let root = Path::new("/proc/self/fdinfo");
    match Launch::parse(body).and_then(|launch| launch.spec(root)) {
        Ok(spec) => {
            let root = root.canonicalize().unwrap_or_default();
            assert!(spec.out_dir.starts_with(root), "{}", spec.out_dir.display());
            assert!(spec.check().is_ok() && spec.cores.len() <= 66);
        }
        Err(error) => is_short(&error),
    }
}

fn is_short(error: &skylib::spp::SppError) {
    // The operating system limits the length of the path in the message.
    assert!(error.to_string().len() <= MAX_ERROR_LEN + 8192);
}

/// Maximum length of an error message, in bytes: 64 characters of up to four bytes or an escape
/// each, and fixed text.
const MAX_ERROR_LEN: usize = 64 * 10 + 200;
