//! Putting this program's schemas into the registry, finding them there, and reading what is there in their stead.

use super::client::{Client, Error, Place};
use super::subject;
use crate::domain::wire::Codec;
use futures::stream::{StreamExt, TryStreamExt};

/// Schemas that are asked for at once.
const AT_ONCE: usize = 8;

/// What became of one schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    pub subject: String,
    pub fingerprint: u64,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was not there and is now.
    Registered(Place),
    /// It was there.
    Unchanged(Place),
    /// The subject has a schema that it does not go together with; in the registry's words.
    Incompatible(Vec<String>),
}

/// Registers every schema that is not there yet and sets its subject to FULL_TRANSITIVE, each on its own: one that is
/// incompatible stops no other. Can be repeated. In the order of `codecs`.
///
/// # Errors
/// When the registry does not answer or does not let us; what was registered until then stays.
pub async fn apply(client: &Client, codecs: &[&'static Codec]) -> Result<Vec<Registered>, Error> {
    let work = codecs.iter().map(|codec| apply_one(client, codec)).collect::<Vec<_>>();
    futures::stream::iter(work).buffered(AT_ONCE).try_collect().await
}

async fn apply_one(client: &Client, codec: &'static Codec) -> Result<Registered, Error> {
    let subject = subject(codec);
    let registered = |outcome| Registered { subject: subject.clone(), fingerprint: codec.fingerprint, outcome };
    if let Some(place) = client.lookup(&subject, codec.text).await? {
        client.set_full_transitive(&subject).await?;
        return Ok(registered(Outcome::Unchanged(place)));
    }
    // A subject must exist before some registries take its level; where it does, the level must be there before the
    // schema, because the registry checks the one against the other.
    let exists = !client.versions(&subject).await?.is_empty();
    if exists {
        client.set_full_transitive(&subject).await?;
    }
    let id = match client.register(&subject, codec.text).await {
        Err(Error::Incompatible { message }) => {
            let detail = client.complaints(&subject, codec.text).await?.unwrap_or_default();
            return Ok(registered(Outcome::Incompatible(if detail.is_empty() { vec![message] } else { detail })));
        }
        other => other?,
    };
    if !exists {
        client.set_full_transitive(&subject).await?;
    }
    let cause = || format!("it took schema {subject} as {id} and does not find it");
    let place = client.lookup(&subject, codec.text).await?;
    let place = place.ok_or_else(|| Error::Answer { url: client.url().to_owned(), cause: cause() })?;
    Ok(registered(Outcome::Registered(place)))
}

/// Where each schema is registered, in the order of `codecs`.
///
/// # Errors
/// When the registry does not answer.
pub async fn lookup(client: &Client, codecs: &[&'static Codec]) -> Result<Vec<(&'static Codec, Option<Place>)>, Error> {
    let one = |codec: &'static Codec| async move {
        let place = client.lookup(&subject(codec), codec.text).await?;
        Ok((codec, place))
    };
    let work = codecs.iter().map(|codec| one(codec)).collect::<Vec<_>>();
    futures::stream::iter(work).buffered(AT_ONCE).try_collect().await
}

/// What the registry has under the subject of one of our schemas.
pub struct Versions {
    pub codec: &'static Codec,
    /// The texts by their numbers, oldest first; none where there is no such subject.
    pub texts: Vec<(u32, String)>,
}

/// Every version that the registry has of each schema, in the order of `codecs`.
///
/// # Errors
/// When the registry does not answer.
pub async fn kept(client: &Client, codecs: &[&'static Codec]) -> Result<Vec<Versions>, Error> {
    let one = |codec: &'static Codec| async move {
        let subject = subject(codec);
        let mut texts = Vec::new();
        for number in client.versions(&subject).await? {
            // One that was deleted meanwhile is none any more.
            if let Some(text) = client.text(&subject, number).await? {
                texts.push((number, text));
            }
        }
        Ok(Versions { codec, texts })
    };
    let work = codecs.iter().map(|codec| one(codec)).collect::<Vec<_>>();
    futures::stream::iter(work).buffered(AT_ONCE).try_collect().await
}
