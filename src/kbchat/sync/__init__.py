"""kbchat without `await`: the same objects for scripts and notebooks, which delegate to the async ones."""

from kbchat.sync.calls import AnswerStream, ReportStream
from kbchat.sync.face import Conversations, Keys, KnowledgeBase, KnowledgeSpace

__all__ = ["AnswerStream", "Conversations", "Keys", "KnowledgeBase", "KnowledgeSpace", "ReportStream"]
