//! `agentverse feedback REQUEST SCORE`.

use super::client::{self, Request};
use super::exit::{Error, Exit};
use super::output::{self, Format};
use super::{Remote, block_on};
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The request: what its answer has in the header AgentVerse-Request-Id
    request: String,
    /// How good the answer was, from 0 (useless) to 1 (perfect)
    #[arg(value_parser = score)]
    score: f64,
    /// In your own words; kept where the tenant keeps its prompts
    #[arg(long)]
    comment: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

fn score(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(score) if (0.0..=1.0).contains(&score) => Ok(score),
        _ => Err("give a number from 0 to 1".into()),
    }
}

pub fn run(args: Args) -> Result<Exit, Error> {
    let tenant = args.remote.tenant()?;
    let request = Request::post("/v1/feedback", Some(tenant), "application/json", body(&args).to_string().into());
    let (url, timeout) = (&args.remote.url, args.remote.timeout());
    let answer = block_on(async { Ok(client::request(url, timeout, request).await?) })?;
    let told: Value = answer.json()?;
    match args.remote.output {
        Format::Json => output::json(&told)?,
        Format::Table => output::line(output::fields(&told))?,
    }
    Ok(Exit::Done)
}

fn body(args: &Args) -> Value {
    let mut body = json!({ "request_id": args.request, "score": args.score });
    if let Some(comment) = &args.comment {
        body["comment"] = json!(comment);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn args(words: &[&str]) -> Option<Args> {
        let cli = Cli::try_parse_from(["agentverse", "feedback"].iter().chain(words)).ok()?;
        match cli.command {
            Command::Feedback(args) => Some(args),
            _ => None,
        }
    }

    #[test]
    fn words_become_the_body() {
        let said = args(&["chatcmpl-1", "0.5", "--comment", "to the point"]).unwrap();
        assert_eq!(body(&said), json!({ "request_id": "chatcmpl-1", "score": 0.5, "comment": "to the point" }));
        assert_eq!(body(&args(&["r", "1"]).unwrap()), json!({ "request_id": "r", "score": 1.0 }));
    }

    #[test]
    fn a_score_is_from_nothing_to_one() {
        for wrong in [&["r"][..], &["r", "1.1"], &["r", "-0.1"], &["r", "good"], &["r", "nan"]] {
            assert!(args(wrong).is_none(), "{wrong:?}");
        }
    }
}
