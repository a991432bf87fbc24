//! What a request asks for, the same for all wires.

use super::said::Said;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A request for text, for a call of a tool, or for JSON.
#[derive(Debug)]
pub struct Ask<'a> {
    pub model: Cow<'a, str>,
    pub prompt_tokens: u64,
    /// What the user said last.
    pub text: Cow<'a, str>,
    pub max_tokens: Option<u64>,
    pub stream: bool,
    /// A stream tells its usage (OpenAI, where it must be asked for).
    pub include_usage: bool,
    pub want: Want<'a>,
}

/// What the answer is to be.
#[derive(Debug)]
pub enum Want<'a> {
    Text,
    /// A call of a tool with arguments of its schema.
    Tool {
        name: Cow<'a, str>,
        schema: Option<&'a RawValue>,
    },
    /// Any JSON object.
    Json,
    /// JSON of this schema.
    Schema(&'a RawValue),
}

/// A tool that was offered.
#[derive(Debug)]
pub struct Tool<'a> {
    pub name: Cow<'a, str>,
    pub schema: Option<&'a RawValue>,
}

/// What the request says about calling the tools.
#[derive(Debug, PartialEq, Eq)]
pub enum Choice<'a> {
    /// Call one if the text names it.
    Auto,
    Never,
    /// Call one, the first if the text names none.
    Any,
    /// Call this one.
    Named(Cow<'a, str>),
}

/// The rule by which everything here counts tokens: a quarter of the bytes of the text as UTF-8, rounded up.
pub fn tokens(bytes: u64) -> u64 {
    bytes.div_ceil(4)
}

/// The sum of a prompt.
#[derive(Debug, Default)]
pub struct Prompt<'a> {
    bytes: u64,
    /// What the user said last.
    pub text: Cow<'a, str>,
    /// The last message brings what a tool gave back.
    pub after_tool: bool,
}

impl<'a> Prompt<'a> {
    pub fn add(&mut self, said: Said<'a>, from_user: bool, from_tool: bool) {
        self.bytes += said.bytes;
        self.after_tool = said.tool_result || from_tool;
        if from_user && !said.last.is_empty() {
            self.text = said.last;
        }
    }

    /// Text that nobody said in turn: instructions, definitions of tools.
    pub fn add_bytes(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// At least 1: no wire tells of empty prompts.
    pub fn tokens(&self) -> u64 {
        tokens(self.bytes).max(1)
    }

    /// Which tool the answer calls, if any. After a tool's result only a call that is demanded.
    pub fn tool(&self, tools: Vec<Tool<'a>>, choice: &Choice<'_>) -> Result<Option<Want<'a>>, String> {
        let found = match choice {
            Choice::Never => None,
            Choice::Named(name) => {
                let tool = tools.into_iter().find(|tool| tool.name == *name);
                Some(tool.ok_or_else(|| format!("the tool {name:?} was chosen but not given"))?)
            }
            Choice::Auto if self.after_tool => None,
            Choice::Auto => self.named(tools).ok(),
            Choice::Any => match self.named(tools) {
                Ok(tool) => Some(tool),
                Err(first) => Some(first.ok_or("a call of a tool was demanded but no tool was given")?),
            },
        };
        Ok(found.map(|Tool { name, schema }| Want::Tool { name, schema }))
    }

    /// The first tool that the text names, with its underscores or with spaces for them; else the first of all.
    fn named(&self, mut tools: Vec<Tool<'a>>) -> Result<Tool<'a>, Option<Tool<'a>>> {
        if tools.is_empty() {
            return Err(None);
        }
        let text = self.text.to_lowercase();
        let names = |tool: &Tool<'_>| {
            let name = tool.name.to_lowercase();
            !name.is_empty() && (text.contains(&name) || text.contains(&name.replace(['_', '-'], " ")))
        };
        match tools.iter().position(names) {
            Some(index) => Ok(tools.swap_remove(index)),
            None => Err(Some(tools.swap_remove(0))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(text: &str, choice: Choice<'_>, after_tool: bool) -> Option<String> {
        let tool = |name: &'static str| Tool { name: name.into(), schema: None };
        let prompt = Prompt { bytes: 0, text: text.into(), after_tool };
        match prompt.tool(vec![tool("get_weather"), tool("send_mail")], &choice).unwrap() {
            Some(Want::Tool { name, .. }) => Some(name.into_owned()),
            _ => None,
        }
    }

    #[test]
    fn a_tool_is_called_when_the_text_names_it_or_the_choice_demands_it() {
        assert_eq!(chosen("please Send mail to Ann", Choice::Auto, false).as_deref(), Some("send_mail"));
        assert_eq!(chosen("hello", Choice::Auto, false), None);
        assert_eq!(chosen("hello", Choice::Any, false).as_deref(), Some("get_weather"));
        assert_eq!(chosen("get_weather", Choice::Named("send_mail".into()), false).as_deref(), Some("send_mail"));
        assert_eq!(chosen("get_weather", Choice::Never, false), None);
        assert_eq!(chosen("get_weather", Choice::Auto, true), None, "its result has come");
    }

    #[test]
    fn a_demand_that_cannot_be_met_is_an_error() {
        let prompt = Prompt::default();
        assert!(prompt.tool(vec![], &Choice::Any).is_err());
        assert!(prompt.tool(vec![], &Choice::Named("f".into())).is_err());
        assert!(prompt.tool(vec![], &Choice::Auto).unwrap().is_none());
    }

    #[test]
    fn a_token_is_four_bytes_and_a_part_of_one_is_one() {
        assert_eq!([0, 1, 4, 5, 8].map(tokens), [0, 1, 1, 2, 2]);
    }
}
