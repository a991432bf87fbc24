//! Words, worked out term by term over a whole segment into one number for each of its rows.
//!
//! The library's own queries go row by row through all terms at once, which costs tens of nanoseconds for each row that
//! has one of them. Among a million rows a common word is in hundreds of thousands, and a page would take a tenth of a
//! second. Term by term each row costs a few: its place in an array is written.

use tantivy::index::InvertedIndexReader;
use tantivy::postings::TermInfo;
use tantivy::query::{Bm25StatisticsProvider, Bm25Weight, EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocId, DocSet, Score, SegmentReader, TERMINATED, TantivyError, Term};

/// What gives a score to the rows of a segment; those that it gives none are not found.
pub trait Scoring: Clone + std::fmt::Debug + Send + Sync + 'static {
    type Number: Copy + Default + PartialEq + Into<Score> + Send + 'static;

    /// A number for each row. `bm25` tells how rare a term is in the whole index.
    ///
    /// # Errors
    /// When the segment cannot be read.
    fn scores(&self, segment: &SegmentReader, bm25: &[Bm25Weight]) -> tantivy::Result<Vec<Self::Number>>;

    /// The terms whose rarity it needs: of each group, as if it were one term.
    fn rated(&self) -> Vec<Vec<Term>>;
}

/// Every word must begin a word of one of the fields. Each adds the best grade of where it stands; half of it where it is
/// only the beginning.
#[derive(Clone, Debug)]
pub struct Graded {
    pub words: Vec<String>,
    /// With the grade of a whole word: even, and small enough that all words' together fit.
    pub fields: [(Field, u16); 3],
}

/// Any of this, each adding to the score.
#[derive(Clone, Debug)]
pub struct Summed {
    pub words: Vec<Sought>,
    /// Any of these terms adds this much, once.
    pub values: Vec<(Vec<Term>, Score)>,
}

/// A word in one field, which counts by how rare it is in the index, and how frequent in the row (Okapi BM25).
#[derive(Clone, Debug)]
pub struct Sought {
    pub whole: Term,
    /// Words that begin with it: they count half.
    pub longer: Vec<Term>,
    pub boost: Score,
}

impl Scoring for Graded {
    type Number = u16;

    fn rated(&self) -> Vec<Vec<Term>> {
        Vec::new()
    }

    fn scores(&self, segment: &SegmentReader, _bm25: &[Bm25Weight]) -> tantivy::Result<Vec<u16>> {
        let mut total: Vec<u16> = Vec::new();
        for word in &self.words {
            let mut best = vec![0; segment.max_doc() as usize];
            for (field, grade) in self.fields {
                let index = segment.inverted_index(field)?;
                // No letter is as great as this one, so that every word that begins so stands before it.
                let end = format!("{word}\u{10ffff}");
                let mut terms = index.terms().range().ge(word.as_bytes()).lt(end.as_bytes()).into_stream()?;
                while terms.advance() {
                    let grade = if terms.key() == word.as_bytes() { grade } else { grade / 2 };
                    each_block(&index, terms.value(), IndexRecordOption::Basic, |docs, _| {
                        for doc in docs {
                            let best = &mut best[*doc as usize];
                            *best = grade.max(*best);
                        }
                    })?;
                }
            }
            if total.is_empty() {
                total = best;
            } else {
                for (total, best) in total.iter_mut().zip(best) {
                    *total = if *total > 0 && best > 0 { *total + best } else { 0 };
                }
            }
        }
        Ok(total)
    }
}

impl Scoring for Summed {
    type Number = Score;

    fn rated(&self) -> Vec<Vec<Term>> {
        let group = |word: &Sought| std::iter::once(&word.whole).chain(&word.longer).cloned().collect();
        self.words.iter().map(group).collect()
    }

    fn scores(&self, segment: &SegmentReader, bm25: &[Bm25Weight]) -> tantivy::Result<Vec<Score>> {
        let mut total = vec![0.0; segment.max_doc() as usize];
        for (word, bm25) in self.words.iter().zip(bm25) {
            let field = word.whole.field();
            let (index, lengths) = (segment.inverted_index(field)?, segment.get_fieldnorms_reader(field)?);
            let longer = word.longer.iter().map(|term| (term, word.boost / 2.0));
            for (term, boost) in std::iter::once((&word.whole, word.boost)).chain(longer) {
                let Some(info) = index.get_term_info(term)? else { continue };
                each_block(&index, &info, IndexRecordOption::WithFreqs, |docs, counts| {
                    for (doc, count) in docs.iter().zip(counts) {
                        total[*doc as usize] += boost * bm25.score(lengths.fieldnorm_id(*doc), *count);
                    }
                })?;
            }
        }
        for (terms, weight) in &self.values {
            // A row that has two of them has it once.
            let mut has = if terms.len() > 1 { vec![false; total.len()] } else { Vec::new() };
            for term in terms {
                let index = segment.inverted_index(term.field())?;
                let Some(info) = index.get_term_info(term)? else { continue };
                each_block(&index, &info, IndexRecordOption::Basic, |docs, _| {
                    for doc in docs {
                        let doc = *doc as usize;
                        let had = has.get_mut(doc).is_some_and(|has| std::mem::replace(has, true));
                        total[doc] += if had { 0.0 } else { *weight };
                    }
                })?;
            }
        }
        Ok(total)
    }
}

/// Calls with the rows of a term and how often each has it, block by block.
fn each_block(
    index: &InvertedIndexReader,
    info: &TermInfo,
    option: IndexRecordOption,
    mut call: impl FnMut(&[DocId], &[u32]),
) -> tantivy::Result<()> {
    let mut postings = index.read_block_postings_from_terminfo(info, option)?;
    while !postings.docs().is_empty() {
        call(postings.docs(), postings.freqs());
        postings.advance();
    }
    Ok(())
}

/// The query of a scoring.
#[derive(Clone, Debug)]
pub struct Dense<S> {
    pub scoring: S,
    /// Only rows that have one of these terms. A segment that has none of them is not looked at, which is most segments
    /// where the terms are of a small tenant.
    pub scopes: Vec<Term>,
}

struct DenseWeight<S> {
    dense: Dense<S>,
    bm25: Vec<Bm25Weight>,
}

/// The rows of a segment that have a score and are in scope.
struct DenseScorer<N> {
    scores: Vec<N>,
    /// They ascend.
    docs: Vec<DocId>,
    place: usize,
}

impl<S: Scoring> Query for Dense<S> {
    fn weight(&self, scoring: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        let bm25 = match scoring {
            EnableScoring::Enabled { statistics_provider, .. } => {
                let groups = self.scoring.rated();
                groups.iter().map(|terms| rarity(statistics_provider, terms)).collect::<tantivy::Result<_>>()?
            }
            EnableScoring::Disabled { .. } => Vec::new(),
        };
        Ok(Box::new(DenseWeight { dense: self.clone(), bm25 }))
    }
}

/// Of terms of one field, as if they were one: a row that has two of them counts twice.
fn rarity(statistics: &dyn Bm25StatisticsProvider, terms: &[Term]) -> tantivy::Result<Bm25Weight> {
    let (mut having, rows) = (0, statistics.total_num_docs()?);
    for term in terms {
        having += statistics.doc_freq(term)?;
    }
    let words = terms.first().map_or(Ok(0), |term| statistics.total_num_tokens(term.field()))?;
    Ok(Bm25Weight::for_one_term_without_explain(having.min(rows), rows, words as Score / rows.max(1) as Score))
}

impl<S: Scoring> Weight for DenseWeight<S> {
    fn scorer(&self, segment: &SegmentReader, _boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        let mut scopes = Vec::with_capacity(self.dense.scopes.len());
        for scope in &self.dense.scopes {
            let index = segment.inverted_index(scope.field())?;
            if let Some(info) = index.get_term_info(scope)? {
                scopes.push((index, info));
            }
        }
        let scores = if scopes.is_empty() { Vec::new() } else { self.dense.scoring.scores(segment, &self.bm25)? };
        let mut docs = Vec::new();
        for (index, info) in &scopes {
            each_block(index, info, IndexRecordOption::Basic, |block, _| {
                docs.extend(block.iter().filter(|doc| scores[**doc as usize] != S::Number::default()));
            })?;
        }
        if scopes.len() > 1 {
            // Each scope's ascend: merging runs is what this sort does.
            docs.sort();
            docs.dedup();
        }
        Ok(Box::new(DenseScorer { scores, docs, place: 0 }))
    }

    fn explain(&self, segment: &SegmentReader, doc: DocId) -> tantivy::Result<Explanation> {
        let mut scorer = self.scorer(segment, 1.0)?;
        if scorer.seek(doc) != doc {
            return Err(TantivyError::InvalidArgument(format!("document {doc} does not match")));
        }
        Ok(Explanation::new("dense", scorer.score()))
    }
}

impl<N: Send + 'static> DocSet for DenseScorer<N> {
    fn advance(&mut self) -> DocId {
        self.place += 1;
        self.doc()
    }

    fn seek(&mut self, target: DocId) -> DocId {
        let rest = self.docs.get(self.place..).unwrap_or_default();
        // Mostly it is near: steps that double find it before the whole rest is halved again and again.
        let (mut near, mut far) = (0, 1);
        while rest.get(far).is_some_and(|doc| *doc < target) {
            (near, far) = (far, 2 * far);
        }
        let between = &rest[near.min(rest.len())..far.saturating_add(1).min(rest.len())];
        self.place += near + between.partition_point(|doc| *doc < target);
        self.doc()
    }

    fn doc(&self) -> DocId {
        self.docs.get(self.place).copied().unwrap_or(TERMINATED)
    }

    fn size_hint(&self) -> u32 {
        self.docs.len() as u32
    }
}

impl<N: Copy + Default + Into<Score> + Send + 'static> Scorer for DenseScorer<N> {
    fn score(&mut self) -> Score {
        self.scores.get(self.doc() as usize).map_or(0.0, |score| (*score).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scorer(docs: &[DocId]) -> DenseScorer<u16> {
        DenseScorer { scores: vec![1; 1_000], docs: docs.to_vec(), place: 0 }
    }

    #[test]
    fn a_scorer_goes_to_the_first_row_at_or_after_what_is_sought() {
        let docs: Vec<DocId> = (0..300).map(|number| 3 * number + number % 2).collect();
        for from in [0, 1, 2, 7, 250, 299] {
            for target in 0..1_000 {
                let mut scorer = scorer(&docs);
                scorer.place = from;
                let expected = docs[from..].iter().copied().find(|doc| *doc >= target).unwrap_or(TERMINATED);
                assert_eq!(scorer.seek(target), expected, "{target} from place {from}");
                assert_eq!(scorer.doc(), expected);
            }
        }
        let mut none = scorer(&[]);
        assert_eq!((none.doc(), none.seek(3), none.advance()), (TERMINATED, TERMINATED, TERMINATED));
    }
}
