//! Headers of a Kafka record, as CloudEvents' binary mode names them.

use rdkafka::message::{BorrowedHeaders, Header, Headers as _, OwnedHeaders};
use std::borrow::Cow;

/// Goes before the name of a CloudEvents attribute.
pub const PREFIX: &str = "ce_";
/// The media type of the value.
pub const CONTENT_TYPE: &str = "content-type";
pub const AVRO: &str = "application/avro";

/// Headers being written, and how many bytes they come to.
pub struct Writer {
    /// Absent only while one is being added.
    headers: Option<OwnedHeaders>,
    bytes: usize,
}

impl Writer {
    pub fn new(capacity: usize) -> Self {
        Self { headers: Some(OwnedHeaders::new_with_capacity(capacity)), bytes: 0 }
    }

    /// Adds a header. Names end at a zero byte on the wire, so none may hold one.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        self.bytes += name.len() + value.len();
        let key = if name.contains('\0') { Cow::Owned(name.replace('\0', "")) } else { Cow::Borrowed(name) };
        let headers = self.headers.take().unwrap_or_default();
        self.headers = Some(headers.insert(Header { key: &key, value: Some(value) }));
    }

    pub fn text(&mut self, name: &str, value: &str) {
        self.add(name, value.as_bytes());
    }

    pub fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(name, value.as_bytes());
        }
    }

    pub fn finish(self) -> (OwnedHeaders, usize) {
        (self.headers.unwrap_or_default(), self.bytes)
    }
}

/// The headers of a record that was read. One without a value is left out: CloudEvents knows no such attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received(Vec<(String, Vec<u8>)>);

impl Received {
    pub fn of(headers: Option<&BorrowedHeaders>) -> Self {
        let all = headers.into_iter().flat_map(|headers| headers.iter());
        Self(all.filter_map(|header| Some((header.key.to_owned(), header.value?.to_vec()))).collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find_map(|(own, value)| (own == name).then_some(value))
    }

    /// The value of a header as text; `None` where it is absent or no UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// As a dead letter keeps them.
    pub fn to_texts(&self) -> Vec<(String, String)> {
        self.iter().map(|(name, value)| (name.to_owned(), String::from_utf8_lossy(value).into_owned())).collect()
    }
}

#[cfg(test)]
impl Received {
    pub fn list(headers: &[(&str, &str)]) -> Self {
        Self(headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect())
    }

    pub fn written(headers: &OwnedHeaders) -> Self {
        Self::of(Some(headers.as_borrowed()))
    }
}
