//! The server over real connections: what it answers, what it refuses, and when it gives up.

use super::*;
use crate::domain::{Aggregate, AnyState, StreamId, TenantId};
use crate::flow::feed::Source;
use crate::flow::heartbeat::{BeatAnswer, Error as BeatError};
use crate::flow::query::stores::{Stores, query};
use crate::ports::views::{RowData, ViewRow};
use async_trait::async_trait;
use serde_json::Value;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const A: TenantId = TenantId(Uuid::from_u128(0xa));
const B: TenantId = TenantId(Uuid::from_u128(0xb));

struct Beats;

#[async_trait]
impl Heartbeats for Beats {
    async fn beat(&self, agent: StreamId) -> Result<BeatAnswer, BeatError> {
        match agent.id.as_u128() {
            1 => Ok(BeatAnswer { health: crate::domain::common::Health::Active, lease: Duration::from_secs(30) }),
            2 => Err(BeatError::Decommissioned),
            3 => Err(BeatError::Unavailable("down".into())),
            _ => Err(BeatError::UnknownAgent),
        }
    }
}

/// The same.
fn feed() -> Arc<Feed> {
    let clock = Arc::new(crate::flow::query::stores::At(0));
    Arc::new(Feed::new(Source::Told, Arc::new(Stores::default()), clock, 1.into(), 0))
}

/// No request of these tests reaches it.
fn gateway() -> Arc<Gateway> {
    Arc::new(Gateway::new(
        Arc::new(Stores::default()),
        Arc::default(),
        Arc::new(std::collections::HashMap::new()),
        1.into(),
    ))
}

fn row(tenant: TenantId, aggregate: Aggregate, id: u128) -> ((TenantId, Uuid), ViewRow) {
    let stream = StreamId::new(tenant, aggregate, Uuid::from_u128(id));
    let state = Arc::from(AnyState::initial(aggregate).to_blob().unwrap());
    let data = RowData { version: 4, created_at: 0, updated_at: 0, state };
    ((tenant, stream.id), ViewRow { stream, data })
}

struct Running {
    at: SocketAddr,
    shutdown: CancellationToken,
    served: JoinHandle<std::io::Result<()>>,
}

async fn start(settings: ApiSettings) -> Running {
    let rows = [
        row(A, Aggregate::Agent, 1),
        row(B, Aggregate::Agent, 2),
        row(TenantId::SHARED, Aggregate::McpServer, 3),
        row(A, Aggregate::Tenant, A.0.as_u128()),
        row(B, Aggregate::Tenant, B.0.as_u128()),
    ];
    let services = Services {
        gateway: gateway(),
        query: Arc::new(query(Stores { rows: rows.into_iter().collect(), ..Stores::default() })),
        feed: feed(),
        heartbeats: Arc::new(Beats),
        completions: None,
        operator: super::Operator {
            readiness: Arc::new(|| Err("the log is being read".into())),
            metrics: Arc::new(|| "agentverse_up 1\n".into()),
        },
        ids: Arc::new(|| Uuid::from_u128(9)),
        settings,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let served = tokio::spawn(serve(listener, Arc::new(services), shutdown.clone()));
    Running { at, shutdown, served }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Checks the form of a problem and gives its code.
    fn code(&self) -> String {
        assert!(self.head.contains("content-type: application/problem+json"), "{}\n{}", self.head, self.body);
        let problem = self.json();
        let code = problem["code"].as_str().unwrap();
        assert_eq!(problem["type"], format!("/problems/{code}"));
        assert_eq!(problem["status"], self.status);
        assert!(!problem["title"].as_str().unwrap().is_empty() && !problem["detail"].as_str().unwrap().is_empty());
        code.to_owned()
    }
}

impl Running {
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        // A server that refuses early closes before it has read all.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += &format!("content-length: {}\r\n\r\n", body.len());
        Answer::parse(&self.raw(&[request.as_bytes(), body].concat()).await)
    }

    async fn get(&self, path: &str, tenant: Option<TenantId>) -> Answer {
        let tenant = tenant.map(|tenant| tenant.to_string());
        let header = tenant.iter().map(|tenant| ("AgentVerse-Tenant", tenant.as_str())).collect::<Vec<_>>();
        self.send("GET", path, &header, b"").await
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn whatever_is_wrong_is_answered_with_a_problem() {
    let server = start(ApiSettings { body_bytes_max: 1000, commands_max: 2, ..ApiSettings::default() }).await;
    let tenant = A.to_string();
    let tenant = ("AgentVerse-Tenant", tenant.as_str());
    let idle = br#"{"type":"agent.IdleAgent","data":{}}"#;
    let three = [b"[".as_slice(), idle, b",", idle, b",", idle, b"]"].concat();
    let large = vec![b' '; 1001];
    let agent = format!("/v1/agents/{}", Uuid::from_u128(1));
    let other = format!("/v1/agents/{}", Uuid::from_u128(2));
    for (status, code, method, path, headers, body) in [
        (404, "no_such_route", "GET", "/v2/agents", &[tenant][..], &b""[..]),
        (404, "no_such_route", "GET", "/v1/agents/", &[tenant], b""),
        (404, "no_such_route", "POST", &format!("{agent}/fly"), &[tenant], b""),
        (405, "method_not_allowed", "DELETE", &agent, &[tenant], b""),
        (405, "method_not_allowed", "GET", "/v1/commands", &[tenant], b""),
        (415, "unsupported_media_type", "POST", "/v1/commands", &[tenant], idle),
        (415, "unsupported_media_type", "POST", "/v1/agents", &[tenant, ("content-type", "text/plain")], b"{}"),
        (413, "body_too_large", "POST", "/v1/commands", &[tenant, JSON], &large),
        (413, "batch_too_large", "POST", "/v1/commands", &[tenant, JSON], &three),
        (400, "malformed", "POST", "/v1/commands", &[tenant, JSON], b"{\"type\":"),
        (400, "not_utf8", "POST", "/v1/commands", &[tenant, JSON], b"{\"type\":\"\xff\"}"),
        (400, "unknown_type", "POST", "/v1/commands", &[tenant, JSON], b"{\"type\":\"x\",\"data\":{}}"),
        (400, "tenant_required", "POST", "/v1/commands", &[JSON], idle),
        (400, "malformed", "POST", "/v1/commands", &[("AgentVerse-Tenant", "acme"), JSON], idle),
        (400, "invalid_query", "POST", "/v1/commands?wait=long", &[tenant, JSON], idle),
        (400, "invalid_data", "POST", "/v1/agents", &[tenant, JSON], b"{\"nonsense\":1}"),
        (400, "invalid_data", "POST", "/v1/agents", &[tenant], b""),
        (400, "invalid_precondition", "PATCH", &agent, &[tenant, JSON, ("if-match", "7")], b"{}"),
        (
            400,
            "unknown_schema",
            "POST",
            "/v1/commands",
            &[tenant, ("content-type", "avro/binary"), ("ce-type", "agent.IdleAgent")],
            b"\0\0\0\0\x01",
        ),
        (400, "invalid_id", "GET", "/v1/agents/42", &[tenant], b""),
        (400, "invalid_id", "POST", "/v1/agents/42/idle", &[tenant], b""),
        (400, "invalid_query", "GET", "/v1/agents?colour=red", &[tenant], b""),
        (400, "invalid_query", "GET", "/v1/agents?limit=0", &[tenant], b""),
        (400, "invalid_query", "GET", "/v1/agents?name=%ff", &[tenant], b""),
        (400, "invalid_cursor", "GET", "/v1/agents?cursor=x", &[tenant], b""),
        (400, "invalid_cursor", "GET", &format!("{agent}/history?cursor=x"), &[tenant], b""),
        (400, "tenant_required", "GET", "/v1/agents", &[], b""),
        (400, "tenant_required", "GET", "/v1/outcomes/1", &[], b""),
        (404, "not_found", "GET", &other, &[tenant], b""),
        (404, "not_found", "GET", &format!("{other}/history"), &[tenant], b""),
        (404, "not_found", "GET", "/v1/outcomes/1", &[tenant], b""),
        (404, "not_found", "POST", &format!("/v1/agents/{}/heartbeat", Uuid::nil()), &[tenant], b""),
        (409, "decommissioned", "POST", &format!("{other}/heartbeat"), &[tenant], b""),
        (503, "unavailable", "GET", "/readyz", &[], b""),
    ] {
        let answer = server.send(method, path, headers, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path}: {}", answer.body);
        assert!(status != 405 || answer.head.contains("\r\nallow: "), "{}", answer.head);
    }
}

/// The message of an error in OpenAI's form.
fn openais_message(answer: &Answer) -> String {
    assert!(answer.head.contains("content-type: application/json"), "{}\n{}", answer.head, answer.body);
    let error = answer.json()["error"].clone();
    assert_eq!((&error["type"], &error["param"]), (&"invalid_request_error".into(), &Value::Null), "{error}");
    assert!(error["code"].is_string(), "{error}");
    error["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_method_that_a_path_does_not_take_is_refused_in_the_form_that_the_document_says() {
    let server = start(ApiSettings::default()).await;
    let document = server.get("/openapi.json", None).await.json();
    for (path, item) in document["paths"].as_object().unwrap() {
        let method = if item["put"].is_object() { "PATCH" } else { "PUT" };
        let answer = server.send(method, &path.replace("{id}", "1").replace("{model}", "a/b"), &[], b"").await;
        assert!(answer.status == 405 && answer.head.contains("\r\nallow: "), "{path}: {}", answer.head);
        let operations = item.as_object().unwrap().values().filter(|operation| operation["responses"].is_object());
        let documented = operations.map(|operation| operation["responses"]["405"].to_string());
        let documented: Vec<_> = documented.collect();
        let all = |form: &str| documented.iter().all(|response| response.contains(form));
        if all("OpenAiError") {
            assert!(openais_message(&answer).contains("Allow"), "{path}");
        } else if all("RegistryError") {
            assert_eq!(answer.json()["error_code"], 405, "{path}");
        } else {
            assert_eq!(answer.code(), "method_not_allowed", "{path}");
        }
    }
}

#[tokio::test]
async fn a_path_of_openais_that_is_not_served_is_refused_in_its_form_and_says_what_is() {
    let server = start(ApiSettings::default()).await;
    for (method, path) in [
        ("POST", "/v1/completions"),
        ("POST", "/v1/responses"),
        ("POST", "/v1/moderations"),
        ("GET", "/v1/chat/completions/x"),
        ("POST", "/v1/images/generations"),
        ("POST", "/v1/audio/speech"),
        ("GET", "/v1/batches/"),
    ] {
        let answer = server.send(method, path, &[], b"").await;
        assert_eq!(answer.status, 404, "{path}");
        let message = openais_message(&answer);
        assert!(message.contains("/v1/chat/completions, /v1/embeddings,"), "{path}: {message}");
        assert!(!message.contains("/v1/files, /v1/files") && !message.contains('{'), "{message}");
    }
}

#[tokio::test]
async fn a_batch_of_which_nothing_can_be_read_is_answered_item_by_item() {
    let server = start(ApiSettings::default()).await;
    let tenant = A.to_string();
    let headers = [("AgentVerse-Tenant", tenant.as_str()), ("content-type", "application/cloudevents-batch+json")];
    let answer = server.send("POST", "/v1/commands", &headers, br#"[{"id":"a","type":"x"},7]"#).await;
    assert_eq!(answer.status, 400);
    let items = answer.json()["items"].clone();
    assert_eq!((items[0]["id"].as_str(), items[0]["reason"]["code"].as_str()), (Some("a"), Some("unknown_type")));
    assert_eq!((items[1]["id"].as_str(), items[1]["outcome"].as_str()), (None, Some("malformed")));
}

#[tokio::test]
async fn a_body_without_a_length_is_bounded_too_and_a_slow_one_is_given_up() {
    let timeout = Duration::from_millis(200);
    let server = start(ApiSettings { body_bytes_max: 1000, body_timeout: timeout, ..ApiSettings::default() }).await;
    let head = format!(
        "POST /v1/commands HTTP/1.1\r\nhost: x\r\nagentverse-tenant: {A}\r\ncontent-type: application/json\r\n"
    );
    let chunk = format!("1f4\r\n{}\r\n", " ".repeat(500));
    let chunked =
        format!("{head}connection: close\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{chunk}{chunk}0\r\n\r\n");
    assert_eq!(Answer::parse(&server.raw(chunked.as_bytes()).await).code(), "body_too_large");
    let slow = format!("{head}content-length: 9\r\n\r\n{{");
    let answer = Answer::parse(&server.raw(slow.as_bytes()).await);
    assert_eq!((answer.status, answer.code().as_str()), (408, "body_timeout"));
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let server = start(ApiSettings { header_timeout: Duration::from_millis(200), ..ApiSettings::default() }).await;
    let answer = tokio::time::timeout(Duration::from_secs(20), server.raw(b"GET /healthz HTTP/1.1\r\nhost:")).await;
    assert!(!answer.expect("the connection stayed").contains(" 200 "));
}

#[tokio::test]
async fn resources_are_shown_to_their_tenant_and_shared_ones_to_all() {
    let server = start(ApiSettings::default()).await;
    let agent = format!("/v1/agents/{}", Uuid::from_u128(1));
    let answer = server.get(&agent, Some(A)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.head.contains("\r\netag: \"4\""), "{}", answer.head);
    assert_eq!(answer.json()["tenant"], A.to_string());
    let tenant = A.to_string();
    let known = server.send("GET", &agent, &[("AgentVerse-Tenant", &tenant), ("if-none-match", "\"4\"")], b"").await;
    assert_eq!((known.status, known.body.as_str()), (304, ""));
    assert_eq!(server.get(&format!("/v1/mcp-servers/{}", Uuid::from_u128(3)), Some(A)).await.status, 200);
    let count = async |path: &str, tenant| server.get(path, tenant).await.json()["items"].as_array().unwrap().len();
    assert_eq!(count("/v1/agents", Some(A)).await, 1);
    assert_eq!(count("/v1/mcp-servers", Some(A)).await, 1);
    assert_eq!(count("/v1/mcp-servers?shared=false", Some(A)).await, 0);
    assert_eq!(count("/v1/tenants", None).await, 2);
    assert_eq!(count("/v1/tenants", Some(A)).await, 1);
    assert_eq!(count(&format!("/v1/tenants?id={}", B.0), None).await, 1);
    assert_eq!(count(&format!("/v1/tenants?id={}", B.0), Some(A)).await, 0);
}

#[tokio::test]
async fn an_operator_sees_health_metrics_and_the_document() {
    let server = start(ApiSettings::default()).await;
    assert_eq!(server.get("/healthz", None).await.json()["status"], "ok");
    let metrics = server.get("/metrics", None).await;
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4") && metrics.body == "agentverse_up 1\n");
    assert_eq!(server.get("/openapi.json", None).await.json()["openapi"], "3.1.0");
    let tenant = A.to_string();
    let path = format!("/v1/agents/{}/heartbeat", Uuid::from_u128(1));
    let beat = server.send("POST", &path, &[("AgentVerse-Tenant", &tenant)], b"").await.json();
    assert_eq!((beat["health"].as_str(), beat["lease_ms"].as_u64()), (Some("active"), Some(30_000)));
    let path = format!("/v1/agents/{}/heartbeat", Uuid::from_u128(3));
    let down = server.send("POST", &path, &[("AgentVerse-Tenant", &tenant)], b"").await;
    assert!(down.status == 503 && down.head.contains("\r\nretry-after: 1"), "{}", down.head);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = start(ApiSettings::default()).await;
    let one = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let last = "GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answers = server.raw(format!("{one}{one}{last}").as_bytes()).await;
    let statuses: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "200", "404"]);
}

#[tokio::test]
async fn at_shutdown_what_is_under_way_ends_first() {
    let server = start(ApiSettings::default()).await;
    let head = "POST /v1/commands HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{";
    let mut under_way = TcpStream::connect(server.at).await.unwrap();
    let mut idle = TcpStream::connect(server.at).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    under_way.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.shutdown.cancel();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(TcpStream::connect(server.at).await.is_err(), "it still accepts");
    assert!(!server.served.is_finished());
    under_way.write_all(b"}").await.unwrap();
    let mut answer = String::new();
    under_way.read_to_string(&mut answer).await.unwrap();
    assert_eq!(Answer::parse(&answer).code(), "unknown_type");
    tokio::time::timeout(Duration::from_secs(10), server.served).await.unwrap().unwrap().unwrap();
}
