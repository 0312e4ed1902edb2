"""Finds functions and their lengths: a tokenizer that is good enough for our style."""

import ast
import re

TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/'                                # comments
    r'|R"([^(\s]{0,16})\(.*?\)\1"'                       # raw strings
    r'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\''       # strings, characters
    r'|^[ \t]*#(?:[^\n\\]|\\.)*(?:\\\n(?:[^\n\\]|\\.)*)*',  # preprocessor lines
    re.S | re.M,
)
DIGITS = re.compile(r"(?<=[0-9a-fA-F])'(?=[0-9a-fA-F])")  # 1'000'000
TYPE = re.compile(r"^(?:template\s*<.*>\s*)?(?:typedef\s+)?(class|struct|union|enum)\b(?!.*\)\s*$)",
                  re.S)
# A brace-initialised member in front of a constructor's body: "X() : x{".
MEMBER = re.compile(r"\)[^:]*[^:]:(?!:).*[\w>]$", re.S)
WITHIN = {"function": "block", "block": "block", "value": "value"}
SPACE = re.compile(r"\bnamespace\b|\bextern\s*$|\bextern\s+_+$")


def blank(match):
    text = match[0]
    filler = "_" if text[0] in "\"'R" else ""
    return filler + "\n" * text.count("\n")


def code_only(text):
    """The text without comments, strings and preprocessor lines; line numbers stay."""
    return TOKEN.sub(blank, DIGITS.sub("", text))


def classify(statement, parens):
    if parens:
        return "value"
    statement = statement.strip()
    if SPACE.search(statement):
        return "space"
    if TYPE.match(statement):
        return "type"
    if statement.endswith("=") or "(" not in statement or MEMBER.search(statement):
        return "value"
    return "function"


def cpp_functions(text):
    """Yields (name, first line, number of lines)."""
    stack = []  # (kind, first line, statement, open parentheses)
    statement, start, line, parens = "", 1, 1, 0
    for char in code_only(text):
        line += char == "\n"
        kind = stack[-1][0] if stack else "space"
        if char == "{":
            inner = WITHIN.get(kind) or classify(statement, parens)
            stack.append((inner, start, statement, parens))
            statement, parens = "", 0
        elif char == "}" and stack:
            kind, first, head, parens = stack.pop()
            if kind == "function":
                yield name_of(head), first, line - first + 1
            statement = head + "_)" if kind == "value" else ""
        elif kind not in ("function", "block"):
            parens += (char == "(") - (char == ")")
            if char == ";" and not parens:
                statement = ""
            elif statement or not char.isspace():
                start = start if statement else line
                statement += char


def name_of(head):
    match = re.search(r"(operator\s*[^\s\w(]+|[\w:~]+)\s*\(([^()]*)", head)
    if not match:
        return "function"
    return match[2].strip() if match[1].startswith("TEST") else match[1]


def python_functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.lineno, node.end_lineno - node.lineno + 1


def shell_functions(text):
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        match = re.match(r"(?:function\s+)?([\w-]+)\s*\(\)\s*[({]\s*$", line)
        if match:
            end = next((n for n, l in enumerate(lines[number:], number + 1)
                        if l in ("}", ")")), len(lines))
            yield match[1], number, end - number + 1
