//! What a registration or a revision makes of an agent's profile.

use super::*;
use crate::domain::agent_template::{self, Definition, render};
use crate::domain::common::{
    INSTRUCTIONS_BYTES_MAX, LABELS_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX, check_labels, check_length, check_name,
    check_unit,
};

/// Most bytes that sealing adds to a text: the key's name, the nonce and the tag.
const SEAL_BYTES_MAX: usize = 512;

/// The profile of a registration: given values before the template's, skills and domains of both.
///
/// # Errors
/// `invalid` for a value outside its field, and those of [`render::render`].
pub fn registered(command: &RegisterAgent, template: Option<&agent_template::State>) -> Result<Profile, Rejection> {
    // The lists are checked before they are united, which takes the product of their lengths.
    check_labels("skills", &command.skills)?;
    check_labels("domains", &command.domains)?;
    check_parameters(command)?;
    let definition = template.map(|template| &template.definition);
    let text = |given: &String, default: fn(&Definition) -> &String| match definition {
        Some(definition) if given.is_empty() => default(definition).clone(),
        _ => given.clone(),
    };
    let profile = Profile {
        name: command.name.clone(),
        category: text(&command.category, |definition| &definition.category),
        purpose: text(&command.purpose, |definition| &definition.purpose),
        role: text(&command.role, |definition| &definition.role),
        instructions: instructions(command, definition)?,
        skills: united(definition.map(|definition| definition.skills.as_slice()), &command.skills),
        domains: united(definition.map(|definition| definition.domains.as_slice()), &command.domains),
        owner: not_blank(&command.owner),
        project: command.project.as_ref().filter(|project| !project.is_empty()).cloned(),
        risk_tier: command.risk_tier,
        confidence_threshold: command.confidence_threshold,
        requirements: requirements(
            command.requirements.as_ref(),
            definition.map(|definition| &definition.requirements),
        ),
    };
    check(&profile)?;
    Ok(profile)
}

/// The profile after a revision: given values before those of the profile so far.
///
/// # Errors
/// `invalid` for a value outside its field.
pub fn revised(before: &Profile, command: &ReviseAgent) -> Result<Profile, Rejection> {
    let text = |given: &Option<String>, before: &String| given.as_ref().unwrap_or(before).clone();
    let labels = |field: &str, given: &Option<Vec<String>>, before: &Vec<String>| match given {
        None => Ok(before.clone()),
        Some(given) => check_labels(field, given).map(|()| united(None, given)),
    };
    let personal = |given: &Personal, before: &Personal| match given {
        Personal::Absent => before.clone(),
        given => not_blank(given),
    };
    let profile = Profile {
        name: text(&command.name, &before.name),
        category: text(&command.category, &before.category),
        purpose: text(&command.purpose, &before.purpose),
        role: text(&command.role, &before.role),
        instructions: personal(&command.instructions, &before.instructions),
        skills: labels("skills", &command.skills, &before.skills)?,
        domains: labels("domains", &command.domains, &before.domains)?,
        owner: personal(&command.owner, &before.owner),
        project: match &command.project {
            None => before.project.clone(),
            Some(project) => (!project.is_empty()).then(|| project.clone()),
        },
        risk_tier: command.risk_tier.unwrap_or(before.risk_tier),
        confidence_threshold: command.confidence_threshold.or(before.confidence_threshold),
        requirements: command.requirements.as_ref().unwrap_or(&before.requirements).clone(),
    };
    check(&profile)?;
    Ok(profile)
}

/// Given instructions stand as they are; the parameters are held against the template all the same.
fn instructions(command: &RegisterAgent, definition: Option<&Definition>) -> Result<Personal, Rejection> {
    let given = not_blank(&command.instructions);
    let Some(definition) = definition else { return Ok(given) };
    if !given.is_absent() {
        render::check_values(&definition.parameters, &command.template_parameters)?;
        return Ok(given);
    }
    let text = render::render(&definition.instructions, &definition.parameters, &command.template_parameters)?;
    Ok(if text.is_empty() { Personal::Absent } else { Personal::Plain(text) })
}

/// Both lists in their order, the template's first, each value once.
fn united(template: Option<&[String]>, given: &[String]) -> Vec<String> {
    let template = template.unwrap_or_default();
    let mut all: Vec<String> = Vec::with_capacity(template.len() + given.len());
    for value in template.iter().chain(given) {
        if !all.contains(value) {
            all.push(value.clone());
        }
    }
    all
}

/// Field by field: what is given, else the template's.
fn requirements(given: Option<&Requirements>, template: Option<&Requirements>) -> Requirements {
    let (given, template) = match (given, template) {
        (Some(given), Some(template)) => (given, template),
        (Some(only), None) | (None, Some(only)) => return only.clone(),
        (None, None) => return Requirements::default(),
    };
    let modalities = if given.modalities.is_empty() { &template.modalities } else { &given.modalities };
    Requirements {
        cost_per_1k_tokens_micro_usd_max: given
            .cost_per_1k_tokens_micro_usd_max
            .or(template.cost_per_1k_tokens_micro_usd_max),
        latency_ms_max: given.latency_ms_max.or(template.latency_ms_max),
        quality_min: given.quality_min.or(template.quality_min),
        context_tokens_min: given.context_tokens_min.or(template.context_tokens_min),
        modalities: modalities.clone(),
    }
}

/// An empty text says nothing.
fn not_blank(value: &Personal) -> Personal {
    match value {
        Personal::Plain(text) if text.is_empty() => Personal::Absent,
        value => value.clone(),
    }
}

/// The parameters are recorded with the agent, so they have limits of their own.
fn check_parameters(command: &RegisterAgent) -> Result<(), Rejection> {
    const FIELD: &str = "template_parameters";
    let parameters = &command.template_parameters;
    if command.template.is_none() && !parameters.is_empty() {
        return Err(Rejection::invalid(FIELD, "are given without a template; name one, or leave them out"));
    }
    if parameters.len() > LABELS_MAX {
        let why = format!("has {} entries, at most {LABELS_MAX} are allowed", parameters.len());
        return Err(Rejection::invalid(FIELD, why));
    }
    parameters.iter().try_for_each(|(name, value)| {
        check_name(FIELD, name)?;
        check_length(FIELD, value, TEXT_BYTES_MAX)
    })
}

fn check(profile: &Profile) -> Result<(), Rejection> {
    check_name("name", &profile.name)?;
    check_name("category", &profile.category)?;
    check_length("purpose", &profile.purpose, TEXT_BYTES_MAX)?;
    check_length("role", &profile.role, NAME_BYTES_MAX)?;
    check_personal("instructions", &profile.instructions, INSTRUCTIONS_BYTES_MAX)?;
    check_labels("skills", &profile.skills)?;
    check_labels("domains", &profile.domains)?;
    check_personal("owner", &profile.owner, NAME_BYTES_MAX)?;
    if let Some(project) = &profile.project {
        check_name("project", project)?;
    }
    check_unit("confidence_threshold", profile.confidence_threshold)?;
    profile.requirements.check()
}

/// A sealed text may be longer by what sealing adds.
fn check_personal(field: &str, value: &Personal, bytes_max: usize) -> Result<(), Rejection> {
    let (bytes, bytes_max) = match value {
        Personal::Absent => return Ok(()),
        Personal::Plain(text) => (text.len(), bytes_max),
        Personal::Sealed(sealed) => {
            (sealed.key_id.len() + sealed.nonce.len() + sealed.ciphertext.len(), bytes_max + SEAL_BYTES_MAX)
        }
    };
    if bytes > bytes_max {
        return Err(Rejection::invalid(field, format!("has {bytes} bytes, at most {bytes_max} are allowed")));
    }
    Ok(())
}
