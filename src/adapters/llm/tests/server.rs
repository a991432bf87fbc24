//! A provider that answers byte by byte what a test wants, over plain TCP: it can stall and break off anywhere.

use super::{Fixed, call};
use crate::adapters::llm::{Client, Config};
use crate::domain::llm_provider::WireProtocol;
use crate::ports::llm::{Call, Destination, KeyError, Keys, Secret};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a request looked like: its head in lower case, and its body.
#[derive(Clone, Debug)]
pub struct Seen {
    pub head: String,
    pub body: String,
}

/// What the provider does next.
#[derive(Clone, Debug)]
pub enum Act {
    Send(Vec<u8>),
    /// Nothing, until the client hangs up.
    Stall,
    /// Hangs up.
    Close,
}

#[derive(Clone)]
pub struct Stub {
    pub url: String,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    pub connections: Arc<AtomicUsize>,
    /// How often a client hung up while the provider stalled.
    pub hung_up: Arc<AtomicUsize>,
}

pub async fn serve(script: impl Fn(&Seen) -> Vec<Act> + Send + Sync + 'static) -> Stub {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let stub = Stub { url, seen: Arc::default(), connections: Arc::default(), hung_up: Arc::default() };
    let (served, script) = (stub.clone(), Arc::new(script));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            served.connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(connection(stream, served.clone(), Arc::clone(&script)));
        }
    });
    stub
}

async fn connection(mut stream: TcpStream, stub: Stub, script: Arc<impl Fn(&Seen) -> Vec<Act>>) {
    while let Some(request) = request(&mut stream).await {
        stub.seen.lock().push(request.clone());
        for act in script(&request) {
            match act {
                Act::Send(bytes) => {
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Act::Stall => {
                    let _ = stream.read(&mut [0]).await;
                    stub.hung_up.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                Act::Close => return,
            }
        }
    }
}

async fn request(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break bytes.drain(..at + 4).collect::<Vec<u8>>();
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |text| text.parse().unwrap());
    while bytes.len() < length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(Seen { head, body: String::from_utf8(bytes).unwrap() })
}

/// A whole answer.
pub fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Act {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    Act::Send(
        format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
        )
        .into_bytes(),
    )
}

/// The head of a streamed answer.
pub fn stream_head(headers: &str) -> Act {
    let fixed = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n";
    Act::Send(format!("{fixed}{headers}\r\n").into_bytes())
}

/// A piece of a streamed answer; an empty one ends it.
pub fn piece(text: &str) -> Act {
    Act::Send(format!("{:x}\r\n{text}\r\n", text.len()).into_bytes())
}

/// Keys that are what they are told to be: the first at first, then each reload the next one.
pub struct Scripted {
    pub keys: Vec<&'static str>,
    pub reloads: AtomicUsize,
}

#[async_trait]
impl Keys for Scripted {
    async fn key(&self, name: &str, _to: Destination<'_>) -> Result<Secret, KeyError> {
        let missing = KeyError::Missing { name: name.to_owned(), cause: "none".to_owned() };
        self.keys.first().map(|key| Secret::new(key)).ok_or(missing)
    }

    async fn reload(&self, _name: &str, _to: Destination<'_>, _stale: &Secret) -> Result<Secret, KeyError> {
        let at = self.reloads.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(Secret::new(self.keys[at.min(self.keys.len() - 1)]))
    }
}

pub fn scripted(keys: &[&'static str]) -> Arc<Scripted> {
    Arc::new(Scripted { keys: keys.to_vec(), reloads: AtomicUsize::new(0) })
}

pub fn client() -> Client {
    client_with(scripted(&["sk-first-secret"]), Config::default())
}

pub fn client_with(keys: Arc<Scripted>, config: Config) -> Client {
    Client::new(config, keys, Arc::new(Fixed)).unwrap()
}

pub const REQUEST: &str = r#"{"messages":[{"role":"user","content":"the prompt"}],"model":"x"}"#;

/// A call on OpenAI's wire with a key.
pub fn asking(stub: &Stub) -> Call {
    let mut call = call(WireProtocol::Openai, &stub.url, "gpt-x", REQUEST);
    call.target.key = Some("K".into());
    call
}

pub fn streaming(stub: &Stub) -> Call {
    Call { stream: true, ..asking(stub) }
}
