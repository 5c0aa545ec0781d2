"""Files and functions stay small enough to be read in one go."""

import statistics

from legato.tests.source_tree import PACKAGE_FOLDERS, FunctionNode, Module, modules

MAX_FILE_LINES = 400
MAX_MEDIAN_FILE_LINES = 150
MAX_FUNCTION_LINES = 80
USUAL_FUNCTION_LINES = 30
USUAL_SHARE = 0.9
MAX_PARAMETERS = 6
# Kernels take a pointer and strides for each tensor, and their twins share the signature.
LAYERS_WITH_LONG_SIGNATURES = ("kernels",)


def _num_lines(function: FunctionNode) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def _num_parameters(function: FunctionNode) -> int:
    arguments = function.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def _too_long(found: tuple[Module, ...]) -> list[str]:
    files = [
        f"{module.name}: {module.num_lines} lines"
        for module in found
        if module.num_lines > MAX_FILE_LINES
    ]
    functions = [
        f"{module.where(function)} {function.name}: {_num_lines(function)} lines"
        for module in found
        for function in module.functions()
        if _num_lines(function) > MAX_FUNCTION_LINES
    ]
    return files + functions


def test_no_file_and_no_function_is_too_long() -> None:
    assert not _too_long(modules(*PACKAGE_FOLDERS))


def test_the_same_goes_for_tests() -> None:
    assert not _too_long(modules("tests"))


def test_half_of_the_files_are_short() -> None:
    sizes = [module.num_lines for module in modules(*PACKAGE_FOLDERS)]
    assert statistics.median(sizes) < MAX_MEDIAN_FILE_LINES


def test_nine_functions_in_ten_are_short() -> None:
    found = modules(*PACKAGE_FOLDERS)
    sizes = [_num_lines(function) for module in found for function in module.functions()]
    short = [size for size in sizes if size < USUAL_FUNCTION_LINES]
    assert len(short) / len(sizes) >= USUAL_SHARE


def test_functions_take_few_parameters() -> None:
    crowded = [
        f"{module.where(function)} {function.name}: {_num_parameters(function)} parameters"
        for module in modules(*PACKAGE_FOLDERS)
        if module.layer not in LAYERS_WITH_LONG_SIGNATURES
        for function in module.functions()
        if _num_parameters(function) > MAX_PARAMETERS
    ]
    assert not crowded
