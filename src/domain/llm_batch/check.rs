//! What a batch's values must be.

use super::*;
use crate::domain::common::{NAME_BYTES_MAX, PromptStorage, TEXT_BYTES_MAX, check_length, check_name};
use crate::domain::personal::Personal;
use crate::domain::tenant::standing;

/// The tenant must be open, and keep prompts in full: the file holds them, and so do the requests made from it.
///
/// # Errors
/// `tenant_suspended`, `tenant_closed`, `prompt_not_stored`.
pub fn check_tenant(context: &Context<'_>) -> Result<(), Rejection> {
    let tenant = standing::check_open(context.envelope.tenant(), context.world)?;
    let storage = tenant.map(|tenant| tenant.prompt_storage).unwrap_or_default();
    if storage == PromptStorage::Full {
        return Ok(());
    }
    let why = "prompts of this tenant are not stored in full, so nothing could keep a batch's requests until their turn; \
               set prompt_storage to full with SetPromptStorage, or send the requests one by one";
    Err(Rejection::new("prompt_not_stored", why).with("prompt_storage", storage.name()))
}

/// A part's text, and how many requests are in it.
pub fn check_part(text: &Personal) -> Result<(&str, i64), Rejection> {
    let Some(text) = text.text().filter(|text| !text.is_empty()) else {
        return Err(Rejection::invalid("text", "is missing, or not plain; give the lines themselves"));
    };
    let lines = text.lines().count();
    if text.len() > PART_BYTES_MAX && (lines > 1 || text.len() > LINE_BYTES_MAX + 2) {
        let why = format!("is at most {PART_BYTES_MAX} bytes, or one line of at most {LINE_BYTES_MAX}");
        return Err(Rejection::invalid("text", why));
    }
    Ok((text, line::requests(text).count() as i64))
}

pub fn check_filename(filename: &str) -> Result<(), Rejection> {
    check_name("filename", filename)?;
    if filename.chars().any(char::is_control) {
        return Err(Rejection::invalid("filename", "must not have control characters"));
    }
    Ok(())
}

pub fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<(), Rejection> {
    let is_long = |(name, value): (&String, &String)| {
        name.is_empty() || name.chars().count() > METADATA_NAME_MAX || value.chars().count() > METADATA_VALUE_MAX
    };
    if metadata.len() > METADATA_MAX || metadata.iter().any(is_long) {
        let why = format!(
            "takes at most {METADATA_MAX} entries, names of 1 to {METADATA_NAME_MAX} characters and values of at most \
             {METADATA_VALUE_MAX}"
        );
        return Err(Rejection::invalid("metadata", why));
    }
    Ok(())
}

pub fn check_problems(problems: &[LineProblem]) -> Result<(), Rejection> {
    if problems.len() > PROBLEMS_MAX {
        return Err(Rejection::invalid("problems", format!("takes at most {PROBLEMS_MAX} entries")));
    }
    problems.iter().try_for_each(|problem| {
        check_name("problems.code", &problem.code)?;
        check_length("problems.message", &problem.message, TEXT_BYTES_MAX)?;
        check_length("problems.param", problem.param.as_deref().unwrap_or_default(), NAME_BYTES_MAX)
    })
}

/// Progress goes on from where the batch is, and counts every request.
///
/// # Errors
/// `invalid`, `stale_progress`.
pub fn check_progress(progress: &Progress, run: &Run, requests: i64) -> Result<(), Rejection> {
    let Progress { line, completed, failed, expired, errors } = progress;
    let is_behind =
        *line < run.line || *completed < run.completed || *failed < run.failed || *expired < run.expired;
    if is_behind {
        let why = "the batch is further than that already; read its head, and go on from there";
        return Err(Rejection::new("stale_progress", why).with("line", run.line));
    }
    if completed.checked_add(*failed) != Some(*line) || *line > requests || expired > failed {
        let why = format!("must count every request up to its line once, and there are {requests}");
        return Err(Rejection::invalid("progress", why));
    }
    let in_order = errors.windows(2).all(|pair| matches!(pair, [one, next] if one.request < next.request));
    let inside = errors.iter().all(|error| error.request > run.line && error.request <= *line);
    if errors.len() > ERRORS_MAX || !in_order || !inside {
        let why = format!("takes at most {ERRORS_MAX}, of the requests beyond the progress before, in their order");
        return Err(Rejection::invalid("progress.errors", why));
    }
    errors.iter().try_for_each(|error| {
        check_name("progress.errors.code", &error.code)?;
        check_length("progress.errors.message", &error.message, TEXT_BYTES_MAX)
    })
}
