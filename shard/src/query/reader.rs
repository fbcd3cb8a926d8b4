//! Typed reading of a request's tree that gathers every problem with its place.

use super::{
    error::{Problem, ProblemPlace, QueryError, QueryErrorKind},
    node::Node,
};
use crate::listing::Word;

/// Items of a list of words at most.
const ITEMS_MAX: usize = 100;
/// Characters of a word at most.
const CHARS_MAX: usize = 200;

/// How the request was written, which decides how places are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    QueryString,
}

/// The way from the root to a value.
#[derive(Debug, Clone, Default)]
pub(super) struct Path(Vec<String>);

impl Path {
    pub(super) fn child(&self, name: &str) -> Self {
        let mut names = self.0.clone();
        names.push(name.to_owned());
        Self(names)
    }
}

/// The members of one object, taken out by name; those that nobody asks for are unknown.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) path: Path,
    members: Vec<(String, Node)>,
    known: Vec<&'static str>,
}

impl Fields {
    /// The value of a member; null counts as absent.
    fn take(&mut self, name: &'static str) -> Option<Node> {
        self.known.push(name);
        let at = self.members.iter().position(|(member, _)| member == name)?;
        let (_, node) = self.members.swap_remove(at);
        (node != Node::Null).then_some(node)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(member, node)| member == name && *node != Node::Null)
    }
}

/// Reads values and gathers problems.
#[derive(Debug)]
pub(super) struct Reader {
    form: Form,
    problems: Vec<(QueryErrorKind, Problem)>,
}

impl Reader {
    pub(super) const fn new(form: Form) -> Self {
        Self { form, problems: Vec::new() }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// All problems, if there are any: of their kind if they have the same, else of
    /// [`QueryErrorKind::InvalidSearch`].
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, QueryError> {
        let first = self.problems.first().map(|(kind, _)| *kind);
        let same = self.problems.iter().all(|(kind, _)| Some(*kind) == first);
        match (first, value) {
            (None, Some(value)) => Ok(value),
            (kind, _) => Err(QueryError {
                kind: kind.filter(|_| same).unwrap_or(QueryErrorKind::InvalidSearch),
                problems: self.problems.into_iter().map(|(_, problem)| problem).collect(),
            }),
        }
    }

    pub(super) fn fail(&mut self, kind: QueryErrorKind, path: &Path, detail: impl Into<String>) {
        let place = match self.form {
            Form::QueryString => ProblemPlace::Parameter(path.0.join(".")),
            Form::Json => ProblemPlace::Pointer(
                path.0.iter().fold("#".to_owned(), |pointer, name| pointer + "/" + &fragment(name)),
            ),
        };
        self.problems.push((kind, Problem { place, detail: detail.into() }));
    }

    pub(super) fn invalid(&mut self, path: &Path, detail: impl Into<String>) {
        self.fail(QueryErrorKind::InvalidSearch, path, detail);
    }

    fn expected(&mut self, path: &Path, expected: &str, node: &Node) {
        self.invalid(path, format!("must be {expected}, not {}", node.describe()));
    }

    /// The members of an object.
    pub(super) fn fields(&mut self, path: &Path, node: Node) -> Option<Fields> {
        match node {
            Node::Object(members) => {
                Some(Fields { path: path.clone(), members, known: Vec::new() })
            }
            other => {
                self.expected(path, "an object", &other);
                None
            }
        }
    }

    /// Reports the members that nobody asked for.
    pub(super) fn no_more(&mut self, fields: Fields) {
        for (name, _) in &fields.members {
            let shown: String = name.chars().take(80).collect();
            let detail = match nearest(name, &fields.known) {
                Some(near) => format!("unknown field; did you mean {near}?"),
                None => "unknown field".to_owned(),
            };
            self.fail(QueryErrorKind::UnknownFilter, &fields.path.child(&shown), detail);
        }
    }

    pub(super) fn require(&mut self, fields: &Fields, name: &'static str) {
        if !fields.has(name) {
            self.invalid(&fields.path.child(name), "is required");
        }
    }

    pub(super) fn object(&mut self, fields: &mut Fields, name: &'static str) -> Option<Fields> {
        let node = fields.take(name)?;
        self.fields(&fields.path.child(name), node)
    }

    /// A text of at most `chars_max` characters.
    pub(super) fn text(
        &mut self,
        fields: &mut Fields,
        name: &'static str,
        chars_max: usize,
    ) -> Option<String> {
        let node = fields.take(name)?;
        self.text_of(&fields.path.child(name), node, chars_max)
    }

    fn text_of(&mut self, path: &Path, node: Node, chars_max: usize) -> Option<String> {
        let text = match (node, self.form) {
            (Node::Text(text), _) => text,
            (Node::Words(words), _) => self.single(path, words)?,
            (other, _) => {
                self.expected(path, "a text", &other);
                return None;
            }
        };
        if text.chars().count() > chars_max {
            self.invalid(path, format!("must have at most {chars_max} characters"));
            return None;
        }
        Some(text)
    }

    fn single(&mut self, path: &Path, words: Vec<String>) -> Option<String> {
        let count = words.len();
        let mut words = words.into_iter();
        match (words.next(), count) {
            (Some(word), 1) => Some(word),
            _ => {
                self.invalid(path, format!("is given {count} times"));
                None
            }
        }
    }

    /// A finite number.
    pub(super) fn number(&mut self, fields: &mut Fields, name: &'static str) -> Option<f64> {
        let path = fields.path.child(name);
        let text = match fields.take(name)? {
            Node::Number(text) => text,
            Node::Words(words) => self.single(&path, words)?,
            other => {
                self.expected(&path, "a number", &other);
                return None;
            }
        };
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Some(number + 0.0),
            Ok(_) => {
                self.invalid(&path, "must be a finite number");
                None
            }
            Err(_) => {
                self.expected(&path, "a number", &Node::Words(vec![text]));
                None
            }
        }
    }

    /// A number that is not negative.
    pub(super) fn quantity(&mut self, fields: &mut Fields, name: &'static str) -> Option<f64> {
        let number = self.number(fields, name)?;
        if number < 0.0 {
            self.invalid(&fields.path.child(name), "must be at least 0");
            return None;
        }
        Some(number)
    }

    /// A whole number within `min..=max`.
    pub(super) fn whole(
        &mut self,
        fields: &mut Fields,
        name: &'static str,
        (min, max): (u32, u32),
    ) -> Option<u32> {
        let number = self.number(fields, name)?;
        let whole = whole(number).filter(|whole| (min..=max).contains(whole));
        if whole.is_none() {
            let detail = format!("must be a whole number within {min} and {max}");
            self.invalid(&fields.path.child(name), detail);
        }
        whole
    }

    /// A word of a closed vocabulary.
    pub(super) fn word<T: Word>(&mut self, fields: &mut Fields, name: &'static str) -> Option<T> {
        let text = self.text(fields, name, CHARS_MAX)?;
        self.word_of(&fields.path.child(name), &text)
    }

    fn word_of<T: Word>(&mut self, path: &Path, text: &str) -> Option<T> {
        let word = T::from_word(text);
        if word.is_none() {
            let words: Vec<_> = T::ALL.iter().map(|word| word.as_str()).collect();
            let mut detail = format!("must be one of {}", words.join(", "));
            if let Some(near) = nearest(text, &words) {
                detail.push_str("; did you mean ");
                detail.push_str(near);
                detail.push('?');
            }
            self.invalid(path, detail);
        }
        word
    }

    /// The items of a list, with their paths.
    pub(super) fn list(
        &mut self,
        fields: &mut Fields,
        name: &'static str,
        items_max: usize,
    ) -> Option<Vec<(Path, Node)>> {
        let path = fields.path.child(name);
        let items = match fields.take(name)? {
            Node::List(items) => items,
            Node::Words(words) => words.into_iter().map(|word| Node::Words(vec![word])).collect(),
            Node::Object(members) if self.form == Form::QueryString => {
                flat_list(members).or_else(|| {
                    self.invalid(&path, "must be numbered from 0, or repeat in parallel");
                    None
                })?
            }
            other => {
                self.expected(&path, "a list", &other);
                return None;
            }
        };
        if items.len() > items_max {
            self.invalid(&path, format!("must have at most {items_max} items"));
            return None;
        }
        let at = |(index, item): (usize, Node)| match self.form {
            Form::Json => (path.child(&index.to_string()), item),
            Form::QueryString => (path.clone(), item),
        };
        Some(items.into_iter().enumerate().map(at).collect())
    }

    /// A list of texts, each of which `understand` turns into a value or an error's detail; sorted
    /// and without repetitions, since none of the lists of a search has an order.
    pub(super) fn set<T: Ord>(
        &mut self,
        fields: &mut Fields,
        name: &'static str,
        mut understand: impl FnMut(&mut Self, &Path, String) -> Option<T>,
    ) -> Vec<T> {
        let mut values = Vec::new();
        for (path, item) in self.list(fields, name, ITEMS_MAX).unwrap_or_default() {
            if let Some(text) = self.text_of(&path, item, CHARS_MAX) {
                values.extend(understand(self, &path, text));
            }
        }
        values.sort();
        values.dedup();
        values
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, fields: &mut Fields, name: &'static str) -> Vec<String> {
        self.set(fields, name, |_, _, text| Some(text))
    }

    /// A list of words of a closed vocabulary.
    pub(super) fn words<T: Word + Ord>(
        &mut self,
        fields: &mut Fields,
        name: &'static str,
    ) -> Vec<T> {
        self.set(fields, name, |reader, path, text| reader.word_of(path, &text))
    }
}

/// The integer that a number is, if it is one.
#[expect(clippy::cast_possible_truncation, reason = "the cast saturates, and is compared")]
#[expect(clippy::cast_sign_loss, reason = "the cast saturates, and is compared")]
fn whole(number: f64) -> Option<u32> {
    let whole = number as u32;
    (f64::from(whole) == number).then_some(whole)
}

/// The list that dotted names stand for: members named 0, 1, 2…, or members that all repeat
/// equally often.
fn flat_list(members: Vec<(String, Node)>) -> Option<Vec<Node>> {
    let numbered: Option<Vec<(usize, Node)>> = members
        .iter()
        .map(|(name, node)| Some((name.parse::<usize>().ok()?, node.clone())))
        .collect();
    if let Some(mut numbered) = numbered {
        numbered.sort_by_key(|(index, _)| *index);
        let complete = numbered.iter().enumerate().all(|(at, (index, _))| at == *index);
        return complete.then(|| numbered.into_iter().map(|(_, node)| node).collect());
    }
    let mut items: Vec<Vec<(String, Node)>> = Vec::new();
    for (at, (name, node)) in members.into_iter().enumerate() {
        let Node::Words(words) = node else {
            return None;
        };
        if at == 0 {
            items.resize_with(words.len(), Vec::new);
        }
        if items.len() != words.len() {
            return None;
        }
        for (item, word) in items.iter_mut().zip(words) {
            item.push((name.clone(), Node::Words(vec![word])));
        }
    }
    Some(items.into_iter().map(Node::Object).collect())
}

/// One step of a JSON pointer in a URI fragment (RFC 6901 §6).
fn fragment(name: &str) -> String {
    let mut out = String::new();
    for byte in name.replace('~', "~0").replace('/', "~1").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// The known word that was probably meant: at most a third of its letters differ.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(64).flat_map(char::to_lowercase).collect();
    known
        .iter()
        .map(|candidate| (edit_distance(&word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(3).min(3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance, with a swap of neighbours counted as one edit.
fn edit_distance(a: &[char], b: &str) -> usize {
    let b: Vec<char> = b.chars().flat_map(char::to_lowercase).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let cost = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX - 1);
            let mut best = (cost(&row, j) + usize::from(x != y))
                .min(cost(&row, j + 1) + 1)
                .min(cost(&next, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(cost(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_word_is_offered() {
        let known = ["propertyTypes", "priceMin", "priceMax", "limit"];
        assert_eq!(nearest("proprtyTypes", &known), Some("propertyTypes"));
        assert_eq!(nearest("pirceMin", &known), Some("priceMin"));
        assert_eq!(nearest("LIMIT", &known), Some("limit"));
        assert_eq!(nearest("wheelchair", &known), None);
    }

    #[test]
    fn pointers_are_fragments() {
        assert_eq!(fragment("a/b~c d"), "a~1b~0c%20d");
    }
}
