"""What the exporter itself says in a post, in the post's language."""

# English where a language is not listed; {number} and the like are filled in
WORDS = {
    "en": {
        "read": "Read in English",
        "notebook": "the notebook",
        "source": "its source",
        "from": "This post is {notebook}; every output in it was computed there ({source}).",
        "run": "Run it in Colab",
        "solution": "Solution of exercise {number}",
        "figure": "Figure {number}.",
        "output of": "output of cell {number}",
        "code": "Show the code",
        "output": "Show the output",
        "lines": "Show the output ({number} lines)",
        "cell": "Show the code and its output",
        "text": "Show the text",
    },
    "ko": {
        "read": "한국어로 읽기",
        "notebook": "노트북",
        "source": "원본",
        "from": "이 글은 {notebook}으로 만들었고, 출력은 모두 거기서 계산했어요({source}).",
        "run": "Colab에서 실행하기",
        "solution": "연습문제 {number} 풀이",
        "figure": "그림 {number}.",
        "output of": "셀 {number}의 출력",
        "code": "코드 보기",
        "output": "출력 보기",
        "lines": "출력 보기({number}줄)",
        "cell": "코드와 출력 보기",
        "text": "글 보기",
    },
}


def words(lang: str) -> dict[str, str]:
    """The words of a language such as ko or ko-KR; English for those that it lacks."""
    return {**WORDS["en"], **WORDS.get(lang, WORDS.get(lang.split("-")[0], {}))}
