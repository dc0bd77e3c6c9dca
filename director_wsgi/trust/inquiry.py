"""What the registry says of a prefix: whether it is approved, whose keys sign for it, and who is registered under it.

An advertisement whose sender is known never depends on the registry being there, nor waits for it:

- What is fresh is used.
- What is stale is used, too, and asked for again behind the advertisement's back: by two threads that do nothing else
  (`pool`), one question at a time for each prefix. What they bring, a withdrawn approval for one, counts from the next
  advertisement on. If they bring nothing, what is stale goes on to count: an outage empties no federation.
- What was never answered is waited for, with a deadline, by two handler threads at most; so are a key that the known
  set lacks, and the end of a no, which is asked about at every advertisement. Without an answer the sender is told to
  come again, but a no stays one, and a name nobody knows is done without.

How much that asks of the registry: for each prefix one request in five minutes (its approval) and two in fifteen (its
keys), for each server one in ten (its name); with 1,100 servers and 3,000 namespaces 25 requests a second, over two
connections that are kept open. Workers share what they are told (`shared`), so that several ask little more than one,
and one that is started asks for nothing that was known. After an outage everything is stale: 13,400 requests, two at a
time for each worker, begun as the advertisements of a minute come in. A registry that answers in 5 ms is through in
34 s, one that needs 50 ms in less than six minutes; what finds no room in the line is asked for at the next
advertisement, and meanwhile what is stale counts.
"""

import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeVar

from director_wsgi.errors import RegistryUnavailable
from director_wsgi.limits.deadline import Clock, Deadline, monotonic
from director_wsgi.trust.keys import KeySet
from director_wsgi.trust.nameless import Nameless
from director_wsgi.trust.pool import Pool
from director_wsgi.trust.questions import Questions
from director_wsgi.trust.registry import BadAnswer, NoAnswer, Registry, RegistryError
from director_wsgi.trust.remembered import Entry, Remembered
from director_wsgi.trust.shared import ALONE, FLAGS, KEY_SETS, NAMES, Codec, SharedAnswers, Sharing
from director_wsgi.trust.silence import Silence

V = TypeVar("V")

PERMITS: Final = 2
"""Handler threads that may wait for the registry at once."""

APPROVAL_LIFETIME_S: Final = 300.0
KEYS_LIFETIME_S: Final = 900.0
NAME_LIFETIME_S: Final = 600.0

REFETCH_INTERVAL_S: Final = 10.0
"""A key set that lacks a token's key is fetched again, but no more often than this."""

CAPACITY: Final = 20_000
"""Prefixes remembered, for each kind of question."""

_COME_AGAIN: Final = "The Director could not ask the Registry about this server in time; please retry shortly."


class Inquiries:
    """The registry as admissions see it. One for the whole process; safe between threads.

    Until it is started, questions go out on the threads that ask them.

    Attributes:
        permits: To wait for the registry; held by admissions.
        approvals, key_sets, names: The three kinds of questions, by prefix.
        nameless: Prefixes for which a name was waited for in vain.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        timeout_s: float,
        pool: Pool | None = None,
        sharing: Sharing = ALONE,
        generator: random.Random | None = None,
        clock: Clock = monotonic,
    ) -> None:
        """Remember nothing yet.

        Args:
            registry: Answers.
            timeout_s: How long one admission may wait for all its questions together, and how long one question may
                take (`Director.RegistryTimeout`).
            pool: Whose threads ask; started and stopped by this object.
            sharing: With whom answers are shared.
            generator: Of the jitter in the pauses while the registry is silent.
            clock: Monotonic seconds.
        """
        self._timeout_s = timeout_s
        self._pool = pool if pool is not None else Pool()
        self._silence = Silence(
            longest_question_s=timeout_s, generator=generator if generator is not None else random.Random(), clock=clock
        )
        self._registry = registry
        self._sharing = sharing
        self.permits = threading.BoundedSemaphore(PERMITS)
        self.approvals: Questions[bool] = self._questions(
            "approval", self._is_approved, lambda approved: APPROVAL_LIFETIME_S if approved else 0.0, FLAGS, clock
        )
        self.key_sets: Questions[KeySet] = self._questions(
            "keys", registry.key_set, lambda _: KEYS_LIFETIME_S, KEY_SETS, clock
        )
        self.names: Questions[str] = self._questions(
            "name", registry.registered_name, lambda _: NAME_LIFETIME_S, NAMES, clock
        )
        self.nameless = Nameless(
            registry.url, capacity=CAPACITY, lifetime_s=NAME_LIFETIME_S, sharing=sharing, clock=clock
        )
        self._spoken = SharedAnswers(
            "knows-approvals", registry.url, codec=FLAGS, memory=_Spoken(registry), sharing=sharing
        )

    def _questions(
        self,
        name: str,
        fetch: Callable[[str, Deadline], V],
        lifetime_s: Callable[[V], float],
        codec: Codec[V],
        clock: Clock,
    ) -> Questions[V]:
        answers = Remembered(lifetime_s=lifetime_s, capacity=CAPACITY, clock=clock)
        return Questions(
            name,
            fetch,
            answers=answers,
            shared=SharedAnswers(name, self._registry.url, codec=codec, memory=answers, sharing=self._sharing),
            pool=self._pool,
            silence=self._silence,
            timeout_s=self._timeout_s,
            clock=clock,
        )

    def _is_approved(self, prefix: str, deadline: Deadline) -> bool:
        is_approved = self._registry.is_approved(prefix, deadline)
        if self._registry.knows_approvals:
            self._spoken.answered("", True)
        return is_approved

    def start(self) -> None:
        """Start the threads that ask. Once, in the process that serves."""
        self._pool.start()

    def stop(self, deadline: Deadline) -> bool:
        """Ask nothing any more, and end the threads; to be called after the registry's client was closed.

        Returns:
            Whether they had ended by the deadline.
        """
        return self._pool.stop(deadline)

    def adopt(self, *, timeout_s: float) -> None:
        """Let one admission wait so long, and one question take so long, from the next one on.

        What is being waited for now keeps its deadline; what is known, and that the registry is silent, stays.
        """
        self._timeout_s = timeout_s
        self._silence.adopt(longest_question_s=timeout_s)
        self.approvals.adopt(timeout_s=timeout_s)
        self.key_sets.adopt(timeout_s=timeout_s)
        self.names.adopt(timeout_s=timeout_s)

    @contextmanager
    def open(self, deadline: Deadline) -> Iterator["Inquiry"]:
        """The questions of one admission; what it holds is given back at the end."""
        inquiry = Inquiry(self, deadline.at_most(self._timeout_s))
        try:
            yield inquiry
        finally:
            inquiry.close()

    @property
    def permits_in_use(self) -> int:
        """How many handler threads may be waiting for the registry now."""
        return PERMITS - self.permits._value  # noqa: SLF001, it has no reader of its own

    @property
    def silent_s(self) -> float:
        """How long the registry has given no answer; 0.0 while it answers."""
        return self._silence.length_s

    @property
    def waiting(self) -> int:
        """Questions that stand in line for a thread."""
        return self._pool.waiting

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """Questions that went out, by kind (`approval`, `keys`, `name`) and by what came of them (see `Questions`)."""
        kinds = {"approval": self.approvals.counts, "keys": self.key_sets.counts, "name": self.names.counts}
        return {(kind, outcome): times for kind, counts in kinds.items() for outcome, times in counts.items()}


class Inquiry:
    """The questions of one admission, asked one after another. For one thread."""

    def __init__(self, shared: Inquiries, deadline: Deadline) -> None:
        self._shared = shared
        self._deadline = deadline
        self._has_permit = False

    def is_approved(self, prefix: str) -> bool:
        """Whether an administrator approved the prefix.

        Raises:
            RegistryUnavailable: Nothing is known, and no answer is to be had now.
            BadAnswer: The registry does not know the prefix, or nothing is known and it says nothing that makes sense.
        """
        questions = self._shared.approvals
        known = questions.answers.known(prefix)
        if known is not None and known.value:
            questions.renew_if_stale(prefix, known)
            return True
        try:
            return self._waited_for(questions, prefix, known)
        except RegistryError as error:
            if known is not None and not (isinstance(error, BadAnswer) and error.settles):
                return known.value
            raise _come_again(error) from None

    def key_set(self, prefix: str, kid: str) -> KeySet:
        """The keys registered for the prefix; asked for again at once if none is called `kid`, at a bounded rate.

        Raises:
            RegistryUnavailable: No such key is known, and no answer is to be had now.
            BadAnswer: The registry does not know the prefix, or no such key is known and it says nothing that makes
                sense.
        """
        questions = self._shared.key_sets
        known = questions.answers.known(prefix)
        if known is not None and known.value.with_id(kid):
            questions.renew_if_stale(prefix, known)
            return known.value
        if known is not None and questions.answers.age_s(known) < REFETCH_INTERVAL_S:
            return known.value
        try:
            return self._waited_for(questions, prefix, known)
        except RegistryError as error:
            raise _come_again(error) from None

    def registered_name(self, prefix: str) -> str | None:
        """The name of the server registered under the prefix; None if nobody knows, for whatever reason.

        It is waited for once. If no name came then, as for a server that is registered without one, the question goes
        out behind each later advertisement, and its answer counts from the next one on.
        """
        questions = self._shared.names
        known = questions.answers.known(prefix)
        if known is not None:
            questions.renew_if_stale(prefix, known)
            return known.value
        if prefix in self._shared.nameless:
            questions.ask_behind(prefix)
            return None
        try:
            return self._waited_for(questions, prefix, None)
        except RegistryError:
            self._shared.nameless.found(prefix)
            return None

    def _waited_for(self, questions: Questions[V], prefix: str, known: Entry[V] | None) -> V:
        """A new answer.

        Raises:
            RegistryError: There is none now.
        """
        if known is not None and not questions.may_retry(known):
            raise NoAnswer("the registry has just given no answer")
        if not self._take_permit():
            raise NoAnswer("enough threads wait for the registry")
        return questions.ask(prefix, self._deadline)

    def _take_permit(self) -> bool:
        """Hold a permit until the end of this admission; False, at once, if there is none left."""
        if not self._has_permit:
            self._has_permit = self._shared.permits.acquire(blocking=False)
        return self._has_permit

    def close(self) -> None:
        """Give the permit back."""
        if self._has_permit:
            self._has_permit = False
            self._shared.permits.release()


class _Spoken:
    """Whether the registry knows of approvals, as a `Memory`: to a new worker, too, a 404 is no approval then."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def learn(self, _key: str, has_spoken: bool, _age_s: float, /) -> None:
        if has_spoken:
            self._registry.has_spoken_of_approvals()

    def renew(self, _key: str, _age_s: float, /) -> bool:
        return self._registry.knows_approvals

    def forget(self, _key: str, /) -> None:
        pass


def _come_again(error: RegistryError) -> RegistryError | RegistryUnavailable:
    """What the admission ends with: a missing answer says nothing against the sender."""
    return RegistryUnavailable(_COME_AGAIN) if isinstance(error, NoAnswer) else error
