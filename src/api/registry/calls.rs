//! The calls of the registry: what there is, and where.

use super::BASE;
use crate::api::routes::Method;

/// What a request asks of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Subjects,
    Versions,
    Version,
    VersionSchema,
    ReferencedBy,
    /// Whether a schema is registered under a subject.
    Lookup,
    Register,
    Id,
    IdSchema,
    IdSubjects,
    IdVersions,
    Types,
    Schemas,
    Config,
    SubjectConfig,
    Mode,
    SubjectMode,
    CompatibleWithOne,
    CompatibleWithAll,
    // What is refused, whoever asks.
    SetConfig,
    UnsetConfig,
    SetSubjectConfig,
    UnsetSubjectConfig,
    SetMode,
    SetSubjectMode,
    UnsetSubjectMode,
    DeleteSubject,
    DeleteVersion,
}

impl Call {
    /// Whether it is there only to be refused with a reason.
    pub fn is_refused(self) -> bool {
        matches!(
            self,
            Self::SetConfig
                | Self::UnsetConfig
                | Self::SetSubjectConfig
                | Self::UnsetSubjectConfig
                | Self::SetMode
                | Self::SetSubjectMode
                | Self::UnsetSubjectMode
                | Self::DeleteSubject
                | Self::DeleteVersion
        )
    }
}

/// Every call with its method and its path.
pub fn calls() -> Vec<(Method, String, Call)> {
    use Method::{Delete, Get, Post, Put};
    let calls = [
        (Get, "/subjects", Call::Subjects),
        (Post, "/subjects/{subject}", Call::Lookup),
        (Delete, "/subjects/{subject}", Call::DeleteSubject),
        (Get, "/subjects/{subject}/versions", Call::Versions),
        (Post, "/subjects/{subject}/versions", Call::Register),
        (Get, "/subjects/{subject}/versions/{version}", Call::Version),
        (Delete, "/subjects/{subject}/versions/{version}", Call::DeleteVersion),
        (Get, "/subjects/{subject}/versions/{version}/schema", Call::VersionSchema),
        (Get, "/subjects/{subject}/versions/{version}/referencedby", Call::ReferencedBy),
        (Get, "/schemas", Call::Schemas),
        (Get, "/schemas/types", Call::Types),
        (Get, "/schemas/ids/{id}", Call::Id),
        (Get, "/schemas/ids/{id}/schema", Call::IdSchema),
        (Get, "/schemas/ids/{id}/subjects", Call::IdSubjects),
        (Get, "/schemas/ids/{id}/versions", Call::IdVersions),
        (Get, "/config", Call::Config),
        (Put, "/config", Call::SetConfig),
        (Delete, "/config", Call::UnsetConfig),
        (Get, "/config/{subject}", Call::SubjectConfig),
        (Put, "/config/{subject}", Call::SetSubjectConfig),
        (Delete, "/config/{subject}", Call::UnsetSubjectConfig),
        (Get, "/mode", Call::Mode),
        (Put, "/mode", Call::SetMode),
        (Get, "/mode/{subject}", Call::SubjectMode),
        (Put, "/mode/{subject}", Call::SetSubjectMode),
        (Delete, "/mode/{subject}", Call::UnsetSubjectMode),
        (Post, "/compatibility/subjects/{subject}/versions", Call::CompatibleWithAll),
        (Post, "/compatibility/subjects/{subject}/versions/{version}", Call::CompatibleWithOne),
    ];
    calls.into_iter().map(|(method, path, call)| (method, format!("{BASE}{path}"), call)).collect()
}
