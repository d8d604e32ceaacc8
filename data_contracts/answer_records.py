"""Records of answers and preferences: items of suites, predictions, pairs."""

from data_contracts.records import Conversation, NonEmpty, Record, Split


class EvaluationItem(Record):
    """One question of a suite with its reference answer."""

    conversation: Conversation
    suite: NonEmpty
    metric: NonEmpty
    """Name of an entry in the table of metrics, which refuses an unknown one."""
    choices: tuple[str, ...] = ()
    """Closed set of answers for accuracy metrics; empty where the answer is open."""


class PreferencePair(Record):
    """A preference triplet (x, y_w, y_l) with the scores it was made from."""

    id: NonEmpty
    prompt: Conversation
    """x: the conversation up to the user's last turn."""
    chosen: NonEmpty
    rejected: NonEmpty
    chosen_score: float
    rejected_score: float
    ranker: str
    """Name of the ranking rule, judge or annotator pool that preferred."""
    split: Split = "train"

    @property
    def margin(self) -> float:
        """Score of the chosen answer above that of the rejected one."""
        return self.chosen_score - self.rejected_score


class Prediction(Record):
    """Answer of one checkpoint to one item, with the item's score."""

    id: NonEmpty
    suite: NonEmpty
    checkpoint: NonEmpty
    reference: str
    hypothesis: str
    score: float
    """Score of the item in the suite's metric (error rate, 0 or 1, sentence score)."""
