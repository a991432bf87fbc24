//! What no route takes. The callers of OpenAI's paths are OpenAI's clients, which read its own form of errors and no other:
//! also where this server has no such route, or not for their method. The same goes for the schema registry's.

use super::openai::Fault;
use super::problem::{Kind, METHOD_NOT_ALLOWED, NO_SUCH_ROUTE, Problem};
use super::registry;
use super::routes::table;
use axum::response::{IntoResponse, Response};
use std::sync::LazyLock;

/// What else OpenAI's API has under `/v1`, by the first segment of its paths.
const NOT_SERVED: [&str; 18] = [
    "assistants",
    "audio",
    "completions",
    "containers",
    "conversations",
    "edits",
    "engines",
    "evals",
    "fine_tuning",
    "images",
    "moderations",
    "organization",
    "realtime",
    "responses",
    "threads",
    "uploads",
    "vector_stores",
    "videos",
];

/// The routes for OpenAI's clients, those to one thing left out.
static SERVED: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut paths: Vec<_> = table().into_iter().filter(|route| route.endpoint.is_openais()).map(|it| it.path).collect();
    paths.retain(|path| !path.contains('{'));
    paths.dedup();
    paths
});

/// The answer for a path that no route has.
pub fn no_route(path: &str) -> Response {
    let served = || format!("this server has no such route; those for OpenAI's clients are {}", SERVED.join(", "));
    answer(path, &NO_SUCH_ROUTE, "see /openapi.json for the routes there are", served)
}

/// The answer for a method that no route of this path takes.
pub fn no_method(path: &str) -> Response {
    let why = "use a method of the Allow header; /openapi.json lists them all";
    answer(path, &METHOD_NOT_ALLOWED, why, || why.to_owned())
}

fn answer(path: &str, kind: &'static Kind, why: &str, to_openais: impl FnOnce() -> String) -> Response {
    if is_openais(path) {
        return Fault::from(Problem::new(kind, to_openais())).into_response();
    }
    let problem = Problem::new(kind, why);
    match is_registrys(path) {
        true => registry::Fault::from(problem).into_response(),
        false => problem.into_response(),
    }
}

fn is_registrys(path: &str) -> bool {
    path.strip_prefix(registry::BASE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_openais(path: &str) -> bool {
    let Some(first) = first(path) else { return false };
    NOT_SERVED.contains(&first) || SERVED.iter().any(|served| self::first(served) == Some(first))
}

/// The first segment below `/v1`.
fn first(path: &str) -> Option<&str> {
    path.strip_prefix("/v1/")?.split('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::routes::Endpoint;

    #[test]
    fn a_path_is_openais_by_its_first_segment_and_no_route_of_ours_is() {
        for path in
            ["/v1/chat/x", "/v1/models/", "/v1/feedback/1", "/v1/responses", "/v1/audio/speech", "/v1/files/a/b"]
        {
            assert!(is_openais(path), "{path}");
        }
        for path in ["/", "/v1", "/v1/", "/v2/chat", "/chat/completions", "/v1/chats", "/healthz"] {
            assert!(!is_openais(path), "{path}");
        }
        for route in table() {
            assert_eq!(is_openais(&route.path), route.endpoint.is_openais(), "{}", route.path);
            let is_registrys = matches!(route.endpoint, Endpoint::Registry(_));
            assert_eq!(self::is_registrys(&route.path), is_registrys, "{}", route.path);
        }
    }
}
