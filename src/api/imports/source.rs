//! JSON lines as they come in, in batches: as much is read as the import takes.

use crate::flow::import::{BATCH_BYTES_MAX, Batch, ImportSettings, Kind, Mapping, Splitter};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream, Stream};
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

/// What came is imported once nothing more comes for so long: a source that trickles is not kept waiting.
const GATHER_MAX: Duration = Duration::from_millis(200);

struct Source {
    body: BoxStream<'static, io::Result<Bytes>>,
    kind: Kind,
    mapping: Mapping,
    settings: ImportSettings,
    splitter: Splitter,
    batch: Batch,
    batch_bytes: usize,
    ready: VecDeque<Result<Batch, String>>,
    has_ended: bool,
}

/// The batches of a body; the last is an error where the body broke off.
pub fn lines(
    body: BoxStream<'static, io::Result<Bytes>>,
    kind: Kind,
    mapping: Mapping,
    settings: ImportSettings,
) -> impl Stream<Item = Result<Batch, String>> + Send {
    let source = Source {
        body,
        kind,
        mapping,
        settings,
        splitter: Splitter::new(settings.line_bytes_max),
        batch: Batch::default(),
        batch_bytes: 0,
        ready: VecDeque::new(),
        has_ended: false,
    };
    stream::unfold(source, async |mut source| source.next().await.map(|batch| (batch, source)))
}

impl Source {
    async fn next(&mut self) -> Option<Result<Batch, String>> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            if self.has_ended {
                return None;
            }
            let piece = match self.batch.entries.is_empty() {
                true => self.body.next().await,
                false => match tokio::time::timeout(GATHER_MAX, self.body.next()).await {
                    Ok(piece) => piece,
                    Err(_) => {
                        self.close_batch();
                        continue;
                    }
                },
            };
            match piece {
                Some(Ok(piece)) => {
                    self.batch.bytes += piece.len() as u64;
                    for line in self.splitter.push(&piece) {
                        self.add(line);
                    }
                }
                Some(Err(error)) => {
                    self.close_batch();
                    self.has_ended = true;
                    self.ready.push_back(Err(broken(&error)));
                }
                None => {
                    if let Some(line) = self.splitter.finish() {
                        self.add(line);
                    }
                    self.close_batch();
                    self.has_ended = true;
                }
            }
        }
    }

    fn add(&mut self, line: crate::flow::import::Line) {
        let Some(entry) = line.read(self.kind, &self.mapping, self.settings.line_bytes_max) else { return };
        self.batch_bytes += entry.as_ref().map_or(0, |item| item.bytes);
        self.batch.entries.push(entry);
        if self.batch.entries.len() >= self.settings.batch_max || self.batch_bytes >= BATCH_BYTES_MAX {
            self.close_batch();
        }
    }

    fn close_batch(&mut self) {
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if !batch.entries.is_empty() || batch.bytes > 0 {
            self.ready.push_back(Ok(batch));
        }
    }
}

fn broken(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "the body stood still for too long; import the same again to finish it".into(),
        _ => "the body broke off before its end; import the same again to finish it".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lines_come_in_batches_and_what_broke_off_is_said_after_what_came() {
        let line = |id: u32| format!("{{\"id\":{id},\"name\":\"n\"}}\n");
        let text: String = (0..5).map(line).collect();
        let pieces = [
            Ok(Bytes::from(text[..30].to_owned())),
            Ok(Bytes::from(text[30..].to_owned())),
            Err(io::Error::other("x")),
        ];
        let settings = ImportSettings { batch_max: 2, ..ImportSettings::default() };
        let body = stream::iter(pieces).boxed();
        let batches: Vec<_> = lines(body, Kind::Agents, Mapping::default(), settings).collect().await;
        let sizes: Vec<_> = batches.iter().map(|batch| batch.as_ref().map(|it| it.entries.len()).ok()).collect();
        assert_eq!(sizes, [Some(2), Some(2), Some(1), None]);
        let bytes: u64 = batches.iter().flatten().map(|batch| batch.bytes).sum();
        assert_eq!(bytes, text.len() as u64);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_trickles_is_imported_as_it_comes() {
        let line = Ok(Bytes::from_static(b"{\"id\":1}\n{\"id\":2}\n"));
        let body = stream::iter([line]).chain(stream::pending()).boxed();
        let mut batches = std::pin::pin!(lines(body, Kind::Agents, Mapping::default(), ImportSettings::default()));
        assert_eq!(batches.next().await.unwrap().unwrap().entries.len(), 2);
    }
}
