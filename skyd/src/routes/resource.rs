//! `/api/<kind>`: create, read, update and delete resources of every kind.

use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use serde::Serialize;
use skylib::api::{PatchError, ResourceError};
use skylib::engine::{Collection, Engine};

use crate::app::App;
use crate::body;
use crate::config;
use crate::handler::Call;
use crate::response::{self, Body, Response};

/// Function that returns the collection of a kind.
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
    let text = match body::read_text(&app, body).await {
        Ok(text) => text,
        Err(refusal) => return refusal,
    };
    let text = match as_json(&head.headers, text) {
        Ok(text) => text,
        Err(reason) => return response::error_text(StatusCode::BAD_REQUEST, &reason),
    };
    let ttl = head.headers.get("x-resource-ttl");
    let ttl = ttl.map(|ttl| String::from_utf8_lossy(ttl.as_bytes()).into_owned());
    let create = move |app: &App| of(&app.engine).create(&text, ttl.as_deref());
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
    let patch = match body::read_text(&app, request.into_body()).await {
        Ok(text) => text,
        Err(refusal) => return refusal,
    };
    match blocking(&app, move |app| of(&app.engine).patch(&id, &patch)).await {
        Some(Ok(Some(item))) => response::json(StatusCode::OK, &item),
        Some(Ok(None)) => response::bare(StatusCode::NOT_MODIFIED),
        Some(Err(PatchError::NotFound)) => response::bare(StatusCode::NOT_FOUND),
        Some(Err(PatchError::Updating(
            error @ (ResourceError::Store(_)
            | ResourceError::NotStored(_)
            | ResourceError::TooLarge { .. }),
        ))) => response::resource_error(&error),
        Some(Err(error)) => response::bad_request(&error),
        None => response::bare(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

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

/// Returns the body as JSON. With the content type `application/yaml` it is converted from YAML.
fn as_json(headers: &HeaderMap, text: String) -> Result<String, String> {
    match headers.get(CONTENT_TYPE) {
        Some(kind) if kind == "application/yaml" => Ok(config::yaml(&text)?.to_string()),
        _ => Ok(text),
    }
}

/// Returns a kind as messages of Skydive spell it: `Capture`, `Noderule`.
fn title(kind: &str) -> String {
    let mut letters = kind.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// Returns the plural of a kind for the status: `Captures`.
pub(crate) fn plural(kind: &str) -> String {
    title(kind) + "s"
}

/// Iterator over the pieces of `{"<id>":{…},…}`, each made when it is sent.
struct MapPieces<T> {
    items: std::vec::IntoIter<(String, Arc<T>)>,
    state: MapState,
}

/// Position in the text of a map.
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

/// Bytes of one piece, at least.
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
