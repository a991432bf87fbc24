//! A server for tests: answers each request with what a closure says.

use super::url::BaseUrl;
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Serves on a free port until the runtime ends.
pub async fn serve<F>(answer: F) -> BaseUrl
where
    F: Fn(Uri, HeaderMap, Bytes) -> Response + Send + Sync + 'static,
{
    let answer = Arc::new(answer);
    let app = Router::new().fallback(move |uri: Uri, headers: HeaderMap, body: Bytes| {
        let answer = Arc::clone(&answer);
        async move { answer(uri, headers, body) }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    base
}
