"""Chinese without a dictionary of names: what a text has of words that are neither common nor in its source. Pure.

Names cannot be listed, common words can. What is neither is most likely a name, a title or a term, and an answer that
has one which its source has not is to be looked at.
"""

import re
from collections.abc import Iterator, Set
from itertools import groupby

from kbchat.citations.chinese_words import WORDS

_HAN = re.compile("[\u3400-\u9fff]+")
_PLAIN = frozenset(
    "的了是在和与及也而就都被把之其这那此并且或对从到由向以于为因但如若则等个位有他她它们我你您着过给让用年月"
    "日时号人上下中里内外前后间各该某另每本至约近已曾将会能可要应须必最更很较又再还只共均仅称叫做成名所种次条"
    "座项件张部家些什么哪怎样何多少几大小高低长短新老者入住往一二三四五六七八九十百千万两进好出完起来去没不未"
    "无"
)
"""Characters that hold sentences together: alone they are no name."""
_PLACES = frozenset(
    [
        "中国",
        "日本",
        "美国",
        "英国",
        "法国",
        "德国",
        "俄国",
        "韩国",
        "泰国",
        "台湾",
        "香港",
        "澳门",
        "上海",
        "北京",
        "大阪",
        "长沙",
        "中山",
        "新加坡",
        "加拿大",
        "越南",
        "大连",
        "台北",
        "台中",
        "高雄",
        "河南",
        "河北",
        "山东",
        "山西",
        "江西",
        "海南",
        "云南",
        "南京",
        "南昌",
        "成都",
        "长春",
        "天津",
        "重庆",
        "意大利",
        "葡萄牙",
        "西班牙",
        "高丽",
        "百济",
        "新罗",
        "大理",
        "加州",
        "法兰西",
        "奥地利",
        "比利时",
        "匈牙利",
        "智利",
        "古巴",
        "巴西",
        "南非",
        "北非",
        "东欧",
        "西欧",
        "北欧",
        "中东",
        "南亚",
        "东亚",
        "非洲",
        "欧洲",
        "美洲",
        "亚洲",
        "罗马",
        "巴黎",
        "海德",
        "海口",
        "中华",
        "华北",
        "华南",
        "太原",
        "安徽",
        "西安",
        "西藏",
        "东京",
        "名古屋",
        "首尔",
        "台南",
        "新疆",
        "新界",
        "九龙",
        "石家庄",
    ]
)
"""Names made of common characters."""
_SURNAMES = frozenset(
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘"
    "杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文"
)
_SOUNDS = frozenset(
    "阿埃艾安奥巴贝比伯博布达德迪杜尔法菲弗盖格古哈赫霍吉加杰卡凯科克库拉莱兰劳勒雷里利列林卢鲁伦罗洛"
    "马玛迈曼梅蒙米密莫姆穆纳娜内尼涅诺帕佩皮普奇乔切萨塞森沙什斯索塔泰特腾提图托瓦韦维温沃乌希谢雅亚耶伊因约扎泽兹"
)
_SUFFIXES = frozenset("国市省县州区镇村港岛族语")
_LONGEST = 4
_SYLLABLES = 3


def unfamiliar(text: str, uncarried: Set[int]) -> Iterator[tuple[int, int]]:
    """Stretches of a text, of characters at places in `uncarried`, that are not common words."""
    for run in _HAN.finditer(text):
        known = _known(run[0])
        for start, end in _stretches([run.start() + at in uncarried for at in range(len(known))]):
            unknown = [(start + at, start + to) for at, to in _stretches([not it for it in known[start:end]])]
            if unknown and end - start >= _SYLLABLES and _is_spelt(run[0][start:end]):
                yield run.start() + start, run.start() + end
                continue
            for at, to in unknown:
                if _tells(run[0], at, to, known, run.start(), uncarried):
                    yield run.start() + at, run.start() + to


def _stretches(flags: list[bool]) -> Iterator[tuple[int, int]]:
    at = 0
    for flag, group in groupby(flags):
        length = len(list(group))
        if flag:
            yield at, at + length
        at += length


def _is_spelt(run: str) -> bool:
    """Whether a stretch looks like a foreign name, spelt by its sound."""
    return sum(char in _SOUNDS for char in run) * 3 >= 2 * len(run)


def _tells(run: str, at: int, end: int, known: list[bool], offset: int, uncarried: Set[int]) -> bool:
    """Whether a stretch is long or odd enough to be a name. A lone character may be half of a compound."""
    if end - at > 1:
        return True
    char, after = run[at], run[end : end + 1]
    if char in _SURNAMES and after and offset + end in uncarried and after not in _PLAIN:
        return True
    known_before, known_after = at == 0 or known[at - 1], end == len(known) or known[end]
    return (char not in WORDS and not (known_before and known_after)) or (after in _SUFFIXES and not known_after)


def _known(run: str) -> list[bool]:
    """Which characters stand in common words, by the segmentation that leaves the fewest others."""
    costs, cuts = [0.0], [(0, True)]
    for end in range(1, len(run) + 1):
        plain = run[end - 1] in _PLAIN
        best = (costs[end - 1] + (0.7 if plain else 1.0), end - 1, plain)
        for start in range(max(0, end - _LONGEST), end - 1):
            word = run[start:end]
            if word in _PLACES:
                best = min(best, (costs[start] + 0.45, start, False))
            elif word in WORDS:
                best = min(best, (costs[start] + 0.5, start, True))
        costs.append(best[0])
        cuts.append(best[1:])
    known = [True] * len(run)
    end = len(run)
    while end:
        start, familiar = cuts[end]
        known[start:end] = [familiar] * (end - start)
        end = start
    return known
