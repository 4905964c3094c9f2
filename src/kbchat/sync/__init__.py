"""kbchat without `await`: the same objects for scripts and notebooks, which delegate to the async ones."""

from kbchat.sync.calls import AnswerStream
from kbchat.sync.face import Keys, KnowledgeBase, KnowledgeSpace

__all__ = ["AnswerStream", "Keys", "KnowledgeBase", "KnowledgeSpace"]
