//! What must hold of SPP's requests and of what its processes reply: the first byte tells which.

use std::path::Path;

use skylib::spp::{Action, Launch, PortId, Reply};

/// Panics if reading does, if a refusal repeats more than a little of what was sent, or if an
/// instance would write outside of its root.
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
                assert!(reply.refusal().is_none_or(|text| text.len() <= LONGEST));
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
    // A folder in which nothing that is asked for can be.
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
    // A folder is shown as the system names it, which bounds it too.
    assert!(error.to_string().len() <= LONGEST + 8192);
}

/// 64 characters and what makes them safe to show, at four bytes or an escape each.
const LONGEST: usize = 64 * 10 + 200;
