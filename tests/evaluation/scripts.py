"""Small tasks in six languages, for the tests of metrics and of the choice of weights.

Each example renders a number, a thing and a place; the words are ordinary ones, the templates grammatical enough.
"""

import random
from dataclasses import dataclass
from typing import Literal
from unicodedata import normalize

from understudy.records import Example, Prediction

Form = Literal["NFC", "NFD"]


@dataclass(frozen=True)
class Language:
    """Words of a language, and how they form a target."""

    things: tuple[str, ...]
    places: tuple[str, ...]
    template: str
    form: Form = "NFC"


LANGUAGES = {
    "chinese": Language(
        ("桌子", "木门", "台灯", "杯子", "钢笔", "苹果"),
        ("北京", "上海", "广州", "成都"),
        "{place}的订单里有{n}件{thing}。",
    ),
    "arabic": Language(
        ("طاولة", "باب", "مصباح", "كوب", "قلم", "تفاحة"),
        ("القاهرة", "بغداد", "دمشق", "تونس"),
        "الطلب من {place} يحتوي على {n} {thing}.",
    ),
    "russian": Language(
        ("столов", "дверей", "ламп", "чашек", "ручек", "яблок"),
        ("Москвы", "Казани", "Омска", "Твери"),
        "В заказе из {place} есть {n} {thing}.",
    ),
    "hindi": Language(
        ("मेज़ें", "दरवाज़े", "दीपक", "प्याले", "क़लम", "सेब"), ("दिल्ली", "मुंबई", "पटना", "जयपुर"), "{place} के आदेश में {n} {thing} हैं।"
    ),
    "thai": Language(
        ("โต๊ะ", "ประตู", "โคมไฟ", "ถ้วย", "ปากกา", "แอปเปิล"),
        ("กรุงเทพ", "เชียงใหม่", "ภูเก็ต", "ขอนแก่น"),
        "คำสั่งซื้อจาก{place}มี{thing}{n}ชิ้น",
    ),
    "vietnamese": Language(
        ("cái bàn", "cánh cửa", "cây đèn", "chiếc cốc", "cây bút", "quả táo"),
        ("Hà Nội", "Huế", "Đà Nẵng", "Cần Thơ"),
        "Đơn hàng từ {place} có {n} {thing}.",
        form="NFD",
    ),
}


def task(name: str, count: int = 200, *, seed: int = 0, first: int = 0) -> list[Example]:
    """Examples of a language, numbered from `first`, with different sources."""
    language, rng = LANGUAGES[name], random.Random(seed)
    cases = [(n, thing, place) for n in range(2, 100) for thing in range(6) for place in range(4)]
    return [
        Example(
            str(first + index),
            f"n={n} thing={thing} place={place}",
            (
                normalize(
                    language.form,
                    language.template.format(n=n, thing=language.things[thing], place=language.places[place]),
                ),
            ),
        )
        for index, (n, thing, place) in enumerate(rng.sample(cases, first + count)[first:])
    ]


def copies(examples: list[Example], form: Form = "NFC") -> list[Prediction]:
    """A perfect system, whose tokenizer writes another normal form."""
    return [Prediction(one.id, one.source, one.targets, normalize(form, one.targets[0])) for one in examples]
