//! `/api/<kind>`: create, read, update, and delete resources of every kind.

use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use serde::Serialize;
use skylib::api::{PatchError, ResourceError};
use skylib::engine::{Collection, Engine};
use skylib::memory::{MemoryCharge, MemoryExhausted, MemoryUse};

use crate::app::App;
use crate::body;
use crate::config;
use crate::handler::Call;
use crate::response::{self, Body, Response};

/// Function that returns the engine's collection of one kind of resource.
type Of<C> = fn(&Engine) -> &C;

/// Answers `GET /api/<kind>`.
pub(crate) async fn list<C: Collection + 'static>(call: Call, of: Of<C>) -> Response {
    match blocking(&call.app, move |app| of(&app.engine).all()).await {
        Some(Ok(all)) => {
            let all = all.into_iter().map(|item| (C::id_of(&item), item));
            let body = Body::lazy(MapPieces::new(all.collect()));
            response::with_body(StatusCode::OK, response::JSON, body)
        }
        Some(Err(error)) => response::failed("cannot list resources", &error),
        None => response::bare(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// Answers `GET /api/<kind>/{id}`.
pub(crate) async fn show<C: Collection + 'static>(call: Call, of: Of<C>) -> Response {
    match of(&call.app.engine).get(&call.id) {
        Some(item) => response::json(StatusCode::OK, &item),
        None => response::no_resource(&title(C::KIND), &call.id),
    }
}

/// Answers `POST /api/<kind>`.
pub(crate) async fn create<C: Collection + 'static>(call: Call, of: Of<C>) -> Response {
    let Call { app, request, .. } = call;
    let (head, body) = request.into_parts();
    let is_yaml = is_yaml(&head.headers);
    let read = match is_yaml {
        true => body::read_text(&app, body).await,
        false => body::read_json(&app, body).await,
    };
    let text = match read {
        Ok(text) => text,
        Err(refusal) => return refusal,
    };
    let converted = match is_yaml.then(|| config::yaml(&text)).transpose() {
        Ok(converted) => converted.map(|tree| tree.to_string()),
        Err(reason) => return response::error_text(StatusCode::BAD_REQUEST, &reason),
    };
    let ttl = head.headers.get("x-resource-ttl");
    let ttl = ttl.map(|ttl| String::from_utf8_lossy(ttl.as_bytes()).into_owned());
    let memory = match parse_charge(&app, text.len()) {
        Ok(memory) => memory,
        Err(exhausted) => return response::memory_exhausted(exhausted),
    };
    let create = move |app: &App| {
        let _memory = memory;
        let json = converted.as_deref().unwrap_or(&text);
        of(&app.engine).create(json, ttl.as_deref())
    };
    match blocking(&app, create).await {
        Some(Ok(item)) => response::json(StatusCode::CREATED, &item),
        Some(Err(error)) => response::resource_error(&error),
        None => response::bare(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// Answers `PATCH /api/<kind>/{id}`.
pub(crate) async fn update<C: Collection + 'static>(call: Call, of: Of<C>) -> Response {
    let Call {
        app, request, id, ..
    } = call;
    if id.is_empty() {
        return response::bare(StatusCode::BAD_REQUEST);
    }
    let patch = match body::read_json(&app, request.into_body()).await {
        Ok(text) => text,
        Err(refusal) => return refusal,
    };
    // Waits for a slot, because each patch needs the memory of several copies of the document.
    let Ok(slot) = Arc::clone(&app.patch_slots).acquire_owned().await else {
        return response::bare(StatusCode::SERVICE_UNAVAILABLE);
    };
    let memory = match parse_charge(&app, patch.len()) {
        Ok(memory) => memory,
        Err(exhausted) => return response::memory_exhausted(exhausted),
    };
    let work = move |app: &App| {
        let _held = (slot, memory);
        of(&app.engine).patch(&id, &patch)
    };
    match blocking(&app, work).await {
        Some(Ok(Some(item))) => response::json(StatusCode::OK, &item),
        Some(Ok(None)) => response::bare(StatusCode::NOT_MODIFIED),
        Some(Err(PatchError::NotFound)) => response::bare(StatusCode::NOT_FOUND),
        Some(Err(PatchError::Updating(
            error @ (ResourceError::Store(_)
            | ResourceError::NotStored(_)
            | ResourceError::TooLarge { .. }
            | ResourceError::Graph(_)),
        ))) => response::resource_error(&error),
        Some(Err(error)) => match error.exhausted() {
            Some(exhausted) => response::memory_exhausted(exhausted),
            None => response::bad_request(&error),
        },
        None => response::bare(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// Returns the memory charge for parsing a JSON document.
fn parse_charge(app: &App, len: usize) -> Result<MemoryCharge, MemoryExhausted> {
    let memory = app.memory.charge(MemoryUse::Patches);
    memory.grow_in_steps(PARSED_FACTOR * len)?;
    Ok(memory)
}

/// Maximum ratio of the memory of parsed JSON to the length of the JSON; lists of empty objects
/// have the highest ratio.
const PARSED_FACTOR: usize = 16;

/// Answers `DELETE /api/<kind>/{id}`.
pub(crate) async fn delete<C: Collection + 'static>(call: Call, of: Of<C>) -> Response {
    if call.id.is_empty() {
        return response::error_text(StatusCode::BAD_REQUEST, "Bad Request");
    }
    let id = call.id.clone();
    match blocking(&call.app, move |app| of(&app.engine).delete(&id)).await {
        Some(Ok(true)) => response::typed(StatusCode::OK, "text/plain", ""),
        Some(Ok(false)) => response::no_resource(&title(C::KIND), &call.id),
        Some(Err(error)) => response::resource_error(&error),
        None => response::bare(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// Runs work that may wait for the disk or the graph on a blocking thread; `None` if it panics.
async fn blocking<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App) -> T + Send + 'static,
) -> Option<T> {
    let app = Arc::clone(app);
    tokio::task::spawn_blocking(move || work(&app)).await.ok()
}

/// Returns whether the content type of a body is `application/yaml`.
fn is_yaml(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind == "application/yaml")
}

/// Returns the name of a kind as in the messages of Skydive: `Capture`, `Noderule`.
fn title(kind: &str) -> String {
    let mut letters = kind.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// Returns the plural of a kind for the status: `Captures`.
pub(crate) fn plural(kind: &str) -> String {
    title(kind) + "s"
}

/// Iterator over the pieces of `{"<id>":{…},…}`, each produced when it is sent.
struct MapPieces<T> {
    items: std::vec::IntoIter<(String, Arc<T>)>,
    state: MapState,
}

/// Position in the JSON of a map.
enum MapState {
    Begin,
    Inside,
    Ended,
}

impl<T: Serialize> MapPieces<T> {
    fn new(items: Vec<(String, Arc<T>)>) -> Self {
        Self {
            items: items.into_iter(),
            state: MapState::Begin,
        }
    }
}

impl<T: Serialize> Iterator for MapPieces<T> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut piece = Vec::with_capacity(PIECE + 1024);
        match self.state {
            MapState::Begin => piece.push(b'{'),
            MapState::Inside => {}
            MapState::Ended => return None,
        }
        while piece.len() < PIECE {
            let Some((id, item)) = self.items.next() else {
                piece.extend_from_slice(b"}\n");
                self.state = MapState::Ended;
                break;
            };
            if !matches!(
                std::mem::replace(&mut self.state, MapState::Inside),
                MapState::Begin
            ) {
                piece.push(b',');
            }
            // Writing into memory cannot fail.
            let _written = serde_json::to_writer(&mut piece, &id);
            piece.push(b':');
            let _written = serde_json::to_writer(&mut piece, &*item);
        }
        Some(piece.into())
    }
}

/// Minimum size of a piece, in bytes; the last one may be smaller.
const PIECE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_in_pieces_is_one_object() {
        for count in [0, 1, 2, 20_000] {
            let items: Vec<_> = (0..count)
                .map(|n| (format!("\"{n}\""), Arc::new(n)))
                .collect();
            let pieces: Vec<Bytes> = MapPieces::new(items).collect();
            assert_eq!(pieces.len() > 1, count > 10_000);
            let text = pieces.concat();
            assert!(text.ends_with(b"}\n"));
            let map: serde_json::Map<_, _> = serde_json::from_slice(&text).unwrap();
            assert_eq!(map.len(), count);
            assert!((0..count).all(|n| map[&format!("\"{n}\"")] == n));
        }
    }
}
