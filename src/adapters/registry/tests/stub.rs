//! A registry for tests: answers each request with what a closure says.

use super::super::Config;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Response, Uri};
use std::sync::Arc;
use std::time::Duration;

/// A request as the closure gets it.
pub struct Request {
    pub method: Method,
    pub path: String,
    pub query: Option<String>,
    pub headers: HeaderMap,
    pub body: serde_json::Value,
}

/// Serves on a free port until the runtime ends.
pub async fn serve<F>(answer: F) -> Config
where
    F: Fn(Request) -> (u16, serde_json::Value) + Send + Sync + 'static,
{
    let answer = Arc::new(answer);
    let app = Router::new().fallback(move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
        let answer = Arc::clone(&answer);
        async move {
            let (path, query) = (uri.path().to_owned(), uri.query().map(str::to_owned));
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let (status, body) = answer(Request { method, path, query, headers, body });
            Response::builder().status(status).body(Body::from(body.to_string())).unwrap()
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    config(url)
}

pub fn config(url: impl Into<String>) -> Config {
    Config { url: url.into(), login: None, tls_ca_file: None, timeout: Duration::from_secs(5) }
}

/// The registry's "there is no such thing".
pub fn missing(code: u32) -> (u16, serde_json::Value) {
    (404, serde_json::json!({ "error_code": code, "message": "not found" }))
}
