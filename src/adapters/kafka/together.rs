//! Questions that many tasks ask the brokers at the same time, put to them in one request: what is asked while an answer
//! is under way goes with the next. A fleet has thousands of partitions, and one request for each would keep the client
//! from everything else.

use crate::ports::topic::Error;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Answers questions in the order given, as many as were asked. May block.
type Answer<Q, A> = Box<dyn Fn(&[Q]) -> Result<Vec<A>, Error> + Send + Sync>;

/// Puts questions together.
pub struct Together<Q, A> {
    inner: Arc<Inner<Q, A>>,
}

struct Inner<Q, A> {
    answer: Answer<Q, A>,
    waiting: Mutex<Waiting<Q, A>>,
}

struct Waiting<Q, A> {
    asked: Vec<(Q, oneshot::Sender<Result<A, Error>>)>,
    /// A thread is asking, and will ask for what is waiting.
    busy: bool,
}

impl<Q: Send + 'static, A: Send + 'static> Together<Q, A> {
    pub fn new(answer: impl Fn(&[Q]) -> Result<Vec<A>, Error> + Send + Sync + 'static) -> Self {
        let waiting = Mutex::new(Waiting { asked: Vec::new(), busy: false });
        Self { inner: Arc::new(Inner { answer: Box::new(answer), waiting }) }
    }

    /// The answer to a question; it is put after this call began.
    ///
    /// # Errors
    /// When the questions that it was put with could not be answered.
    pub async fn ask(&self, question: Q) -> Result<A, Error> {
        let (sender, answered) = oneshot::channel();
        let idle = {
            let mut waiting = self.inner.waiting.lock();
            waiting.asked.push((question, sender));
            !std::mem::replace(&mut waiting.busy, true)
        };
        if idle {
            let inner = self.inner.clone();
            tokio::task::spawn_blocking(move || inner.serve());
        }
        answered.await.unwrap_or_else(|_| Err(Error::Unavailable("nobody asks the brokers any more".into())))
    }
}

impl<Q, A> Inner<Q, A> {
    /// Asks until nothing waits.
    fn serve(&self) {
        loop {
            let asked = {
                let mut waiting = self.waiting.lock();
                waiting.busy = !waiting.asked.is_empty();
                std::mem::take(&mut waiting.asked)
            };
            if asked.is_empty() {
                return;
            }
            let (questions, askers): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
            match (self.answer)(&questions) {
                // Whoever gave up has dropped its end.
                Ok(answers) => askers.into_iter().zip(answers).for_each(|(asker, answer)| drop(asker.send(Ok(answer)))),
                Err(error) => {
                    let words = match error {
                        Error::Unavailable(words) | Error::TooLarge(words) => words,
                        overloaded @ Error::Overloaded { .. } => overloaded.to_string(),
                    };
                    askers.into_iter().for_each(|asker| drop(asker.send(Err(Error::Unavailable(words.clone())))));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_asked_while_an_answer_is_under_way_is_put_together() {
        let (rounds, sizes) = mpsc::channel();
        let (go, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let together = Arc::new(Together::new(move |questions: &[u64]| {
            rounds.send(questions.len()).unwrap();
            gate.lock().recv().unwrap();
            Ok(questions.iter().map(|question| question * 2).collect())
        }));
        let ask = |question| {
            tokio::spawn({
                let together = together.clone();
                async move { together.ask(question).await.unwrap() }
            })
        };
        let first = ask(1);
        let sizes = tokio::task::spawn_blocking(move || (sizes.recv().unwrap(), sizes)).await.unwrap();
        assert_eq!(sizes.0, 1);
        let rest: Vec<_> = (2..100).map(ask).collect();
        while together.inner.waiting.lock().asked.len() < rest.len() {
            tokio::task::yield_now().await;
        }
        go.send(()).unwrap();
        go.send(()).unwrap();
        assert_eq!(first.await.unwrap(), 2);
        for (question, answer) in (2..).zip(rest) {
            assert_eq!(answer.await.unwrap(), question * 2);
        }
        assert_eq!(sizes.1.try_iter().collect::<Vec<_>>(), [98]);
    }

    #[tokio::test]
    async fn a_failure_is_told_to_all_and_the_next_question_is_put_again() {
        let tries = Mutex::new(0);
        let together = Together::new(move |questions: &[u64]| {
            *tries.lock() += 1;
            match *tries.lock() {
                1 => Err(Error::Unavailable("away".into())),
                _ => Ok(questions.to_vec()),
            }
        });
        let (one, two) = tokio::join!(together.ask(1), together.ask(2));
        let failed = [one, two].into_iter().filter(|answer| answer.is_err()).count();
        assert!(failed >= 1, "the first round failed");
        assert_eq!(together.ask(3).await.unwrap(), 3);
    }
}
