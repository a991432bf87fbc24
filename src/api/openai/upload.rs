//! `POST /v1/files`: an upload, taken apart and recorded while it comes in. Memory: a part and a line of it.
//!
//! What breaks off leaves a file that was never whole: it is deleted, and where not even that can be said any more, it is
//! not shown, cannot be started, and nothing waits for it.

use super::fault::Fault;
use super::files;
use crate::api::problem::{BODY_TIMEOUT, Problem, UNSUPPORTED_MEDIA_TYPE};
use crate::api::{Services, body};
use crate::domain::llm_batch::{AddBatchPart, BatchFile, Command, DeleteBatchFile, FILE_BYTES_MAX, OpenBatchFile};
use crate::domain::{Aggregate, StreamId, TenantId};
use crate::flow::batch::split::{Refused, Splitter};
use crate::flow::gateway::{Gateway, Wait};
use axum::extract::Request;
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use multer::{Constraints, Field, Multipart, SizeLimit};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Longest that a whole upload may take. Between two pieces of it, what bodies are given in all counts.
const UPLOAD_MAX: Duration = Duration::from_secs(3_600);
/// What a form may have around its file, in bytes.
const FORM_BYTES_MAX: u64 = 64 * 1024;
/// Name of a file that was sent without one.
const NAMELESS: &str = "requests.jsonl";

/// A file that is being uploaded. Dropped before it is whole, it is deleted.
struct Upload<'a> {
    services: &'a Services,
    stream: StreamId,
    parts: i64,
    is_whole: bool,
}

/// Takes an upload; gives the stream that it became.
///
/// # Errors
/// When it is no file of requests, or cannot be recorded.
pub async fn take(services: &Services, tenant: TenantId, request: Request) -> Result<StreamId, Fault> {
    let (head, body) = request.into_parts();
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(content_type).map_err(|_| {
        let message = "send a form with the fields file and purpose, as multipart/form-data (curl: -F)";
        Problem::new(&UNSUPPORTED_MEDIA_TYPE, message)
    })?;
    let limit = SizeLimit::new().whole_stream(FILE_BYTES_MAX as u64 + FORM_BYTES_MAX).for_field("purpose", 1_024);
    let body = body::timely(body, services.settings.body_timeout, UPLOAD_MAX);
    let mut form = Multipart::with_constraints(body, boundary, Constraints::new().size_limit(limit));
    let (mut purpose, mut file) = (None, None);
    while let Some(field) = form.next_field().await.map_err(unread)? {
        match field.name().unwrap_or_default() {
            "purpose" => purpose = Some(field.text().await.map_err(unread)?),
            "file" if file.is_none() => file = Some(one(services, tenant, field).await?),
            "file" => return Err(Fault::invalid("file", "the form has two files; send one")),
            name if name.starts_with("expires_after") => {
                return Err(Fault::invalid(
                    "expires_after",
                    "files do not expire here; leave it out, and delete the file",
                ));
            }
            _ => return Err(Fault::invalid("body", "the form has a field that is neither file nor purpose")),
        }
    }
    let purpose = purpose.ok_or_else(|| Fault::invalid("purpose", "the form has no field purpose; set it to batch"))?;
    if purpose != "batch" {
        return Err(Fault::invalid("purpose", "only files of requests are kept here: set purpose to batch"));
    }
    let (upload, splitter) = file.ok_or_else(|| Fault::invalid("file", "the form has no field file; send one"))?;
    upload.close(splitter).await
}

/// Records a file's parts while they come.
async fn one<'a>(
    services: &'a Services,
    tenant: TenantId,
    mut field: Field<'_>,
) -> Result<(Upload<'a>, Splitter), Fault> {
    let mut splitter = Splitter::new(files::completions(services)?.command_bytes_max);
    let stream = StreamId::new(tenant, Aggregate::LlmBatch, (services.ids)());
    let filename = field.file_name().filter(|name| !name.is_empty()).unwrap_or(NAMELESS).to_owned();
    files::apply(services, stream, Command::OpenBatchFile(OpenBatchFile { filename }), Wait::Applied).await?;
    let mut upload = Upload { services, stream, parts: 0, is_whole: false };
    while let Some(bytes) = field.chunk().await.map_err(unread)? {
        upload.add(splitter.push(&bytes).map_err(refused)?).await?;
    }
    Ok((upload, splitter))
}

impl Upload<'_> {
    async fn add(&mut self, parts: Vec<String>) -> Result<(), Fault> {
        for text in parts {
            self.parts += 1;
            let command = Command::AddBatchPart(AddBatchPart { part: self.parts, text: text.as_str().into() });
            files::apply(self.services, self.stream, command, Wait::Applied).await?;
        }
        Ok(())
    }

    async fn close(mut self, splitter: Splitter) -> Result<StreamId, Fault> {
        let (parts, closing) = splitter.finish().map_err(refused)?;
        self.add(parts).await?;
        files::apply(self.services, self.stream, Command::CloseBatchFile(closing), Wait::Projected).await?;
        self.is_whole = true;
        Ok(self.stream)
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if self.is_whole {
            return;
        }
        // Also where the caller went away, and nobody waits for anything here any more.
        let (gateway, stream, id): (Arc<Gateway>, _, Uuid) =
            (self.services.gateway.clone(), self.stream, (self.services.ids)());
        tokio::spawn(async move {
            let command = Command::DeleteBatchFile(DeleteBatchFile { file: BatchFile::Input });
            let submission = files::submission(id, stream, command);
            if let Err(error) = gateway.submit(vec![submission], Wait::Accepted, Duration::ZERO).await {
                tracing::debug!(%stream, %error, "an upload that broke off could not be deleted; it is never shown");
            }
        });
    }
}

fn unread(error: multer::Error) -> Fault {
    let is_late = |cause: &(dyn std::error::Error + Send + Sync + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
    };
    match error {
        multer::Error::StreamReadFailed(cause) if is_late(&*cause) => {
            Problem::new(&BODY_TIMEOUT, "the upload stood still for too long; send it again, or a smaller file").into()
        }
        multer::Error::StreamReadFailed(_)
        | multer::Error::IncompleteStream
        | multer::Error::IncompleteFieldData { .. } => {
            Fault::invalid("body", "the upload broke off before its end; send it again")
        }
        multer::Error::StreamSizeExceeded { .. } => too_large(Refused::FileTooLarge),
        error => Fault::invalid("body", format!("the body is no form that can be read: {error}")),
    }
}

fn refused(refused: Refused) -> Fault {
    match refused {
        Refused::FileTooLarge => too_large(refused),
        other => Fault::invalid("file", other.to_string()),
    }
}

fn too_large(refused: Refused) -> Fault {
    Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", "file_too_large", refused.to_string())
}
