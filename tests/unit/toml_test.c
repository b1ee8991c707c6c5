/* SPDX-License-Identifier: Apache-2.0 */
#include "common/toml.h"

#include <math.h>
#include <string.h>

#include "common/error.h"
#include "tests/unit/harness.h"

static TomlTable *parse(const char *text, GError **error)
{
    return toml_parse(text, strlen(text), "test.toml", error);
}

static TomlTable *parse_good(const char *text)
{
    GError *error = NULL;
    TomlTable *root = parse(text, &error);

    TEST_OK(root != NULL, error);
    g_clear_error(&error);
    return root;
}

static void expect_string(const TomlTable *table, const char *key, const char *wanted)
{
    g_autofree char *got = NULL;
    GError *error = NULL;

    TEST_OK(toml_get_string(table, key, &got, &error), error);
    CU_ASSERT_TRUE(g_strcmp0(got, wanted) == 0);
    if (g_strcmp0(got, wanted) != 0)
        g_printerr("%s: wanted \"%s\", got \"%s\"\n", key, wanted, got);
}

static void expect_int(const TomlTable *table, const char *key, gint64 wanted)
{
    gint64 got = -1;
    GError *error = NULL;

    TEST_OK(toml_get_int(table, key, &got, &error), error);
    CU_ASSERT_EQUAL(got, wanted);
}

static void expect_bad(const char *text, const char *message)
{
    GError *error = NULL;
    TomlTable *root = parse(text, &error);

    TEST_FAILS(root != NULL, error, STATUS_INVALID_ARGUMENT, message);
    toml_free(root);
}

static void reads_strings(void)
{
    g_autoptr(TomlTable) root = parse_good("basic = \"a\\t\\\"b\\\" \\u00e9 \\U0001F600\"\n"
                                           "literal = 'C:\\n'\n"
                                           "empty = \"\"\n"
                                           "long = \"\"\"\none\n\"two\" \\\n   three\"\"\"\"\n"
                                           "raw = '''\n\\d 'x' '''\n"
                                           "crlf = \"\"\"\r\na\r\nb\"\"\"\r\n");

    expect_string(root, "basic", "a\t\"b\" \xc3\xa9 \xf0\x9f\x98\x80");
    expect_string(root, "literal", "C:\\n");
    expect_string(root, "empty", "");
    expect_string(root, "long", "one\n\"two\" three\"");
    expect_string(root, "raw", "\\d 'x' ");
    expect_string(root, "crlf", "a\nb");
}

static void reads_numbers_and_booleans(void)
{
    g_autoptr(TomlTable) root =
        parse_good("a = 1_000\nb = -17\nc = 0xDEAD_beef\nd = 0o755\ne = 0b101\nf = +9223372036854775807\n"
                   "g = -9223372036854775808\nh = 3.14\ni = -2E-2\nj = inf\nk = -nan\nl = true\nm = false\n"
                   "n = 0\no = 6.626e-34\n");
    double real = 0;
    gboolean boolean = FALSE;

    expect_int(root, "a", 1000);
    expect_int(root, "b", -17);
    expect_int(root, "c", 0xdeadbeef);
    expect_int(root, "d", 0755);
    expect_int(root, "e", 5);
    expect_int(root, "f", G_MAXINT64);
    expect_int(root, "g", G_MININT64);
    expect_int(root, "n", 0);
    CU_ASSERT_TRUE(toml_get_double(root, "h", &real, NULL) && real == 3.14);
    CU_ASSERT_TRUE(toml_get_double(root, "i", &real, NULL) && real == -0.02);
    CU_ASSERT_TRUE(toml_get_double(root, "j", &real, NULL) && isinf(real));
    CU_ASSERT_TRUE(toml_get_double(root, "k", &real, NULL) && isnan(real));
    CU_ASSERT_TRUE(toml_get_double(root, "a", &real, NULL) && real == 1000.0);
    CU_ASSERT_TRUE(toml_get_bool(root, "l", &boolean, NULL) && boolean);
    CU_ASSERT_TRUE(toml_get_bool(root, "m", &boolean, NULL) && !boolean);
}

static void refuses_bad_numbers(void)
{
    static const char *const words[] = {"01",
                                        "1_",
                                        "_1",
                                        "1__2",
                                        "0x",
                                        "0xg",
                                        "1.",
                                        ".5",
                                        "1e",
                                        "+0x1",
                                        "1.e2",
                                        "0_1",
                                        "--1",
                                        "truex",
                                        "yes",
                                        "+inf1",
                                        "0b2",
                                        "9223372036854775808",
                                        "0xffffffffffffffff"};

    for (gsize i = 0; i < G_N_ELEMENTS(words); i++) {
        g_autofree char *text = g_strdup_printf("\nkey = %s\n", words[i]);

        expect_bad(text, "test.toml:2: key: ");
    }
}

static void refuses_dates_with_a_message(void)
{
    expect_bad("a = 1979-05-27T07:32:00Z", "dates and times are not supported: 1979-05-27T07:32:00Z");
    expect_bad("a = 07:32:00", "test.toml:1: a: dates and times");
}

static void reads_dotted_and_quoted_keys(void)
{
    GError *error = NULL;
    g_autoptr(TomlTable) root = parse_good("a.b.c = 1\na . \"b\".d = 2\n\"\" = 3\n'x y' = 4\n1-2_z = 5\n");
    const TomlTable *a = toml_get_table(root, "a", &error);
    const TomlTable *b = a != NULL ? toml_get_table(a, "b", &error) : NULL;

    CU_ASSERT_PTR_NOT_NULL_FATAL(b);
    expect_int(b, "c", 1);
    expect_int(b, "d", 2);
    expect_int(root, "", 3);
    expect_int(root, "x y", 4);
    expect_int(root, "1-2_z", 5);
    CU_ASSERT_STRING_EQUAL(toml_path(b), "a.b");
}

static void keys_keep_the_order_of_the_file(void)
{
    g_autoptr(TomlTable) root = parse_good("server = \"s\"\n[host.\"https://z\"]\n[host.\"https://a\"]\n"
                                           "skip_verify = true # comment\n");
    const TomlTable *host = toml_get_table(root, "host", NULL);
    g_autofree const char **keys = NULL;

    CU_ASSERT_PTR_NOT_NULL_FATAL(host);
    keys = toml_keys(host);
    CU_ASSERT_STRING_EQUAL(keys[0], "https://z");
    CU_ASSERT_STRING_EQUAL(keys[1], "https://a");
    CU_ASSERT_PTR_NULL(keys[2]);
    CU_ASSERT_EQUAL(toml_line(host, "https://a"), 3);
    CU_ASSERT_STRING_EQUAL(toml_path(toml_get_table(host, "https://a", NULL)), "host.\"https://a\"");
    CU_ASSERT_TRUE(toml_has(host, "https://z"));
    CU_ASSERT_FALSE(toml_has(host, "https://y"));
}

static void reads_arrays(void)
{
    GError *error = NULL;
    g_auto(GStrv) strings = NULL;
    g_auto(GStrv) mixed = NULL;
    g_autoptr(TomlTable) root = parse_good("a = [\n  \"x\", # one\n  'y',\n]\nb = []\nc = [\"x\", 1]\n"
                                           "d = [[1, 2], [\"z\"]]\n");

    TEST_OK(toml_get_strv(root, "a", &strings, &error), error);
    CU_ASSERT_EQUAL(g_strv_length(strings), 2);
    CU_ASSERT_STRING_EQUAL(strings[1], "y");
    TEST_FAILS(toml_get_strv(root, "c", &mixed, &error), error, STATUS_INVALID_ARGUMENT,
               "test.toml:6: c must hold strings only");
    CU_ASSERT_PTR_NULL(mixed);
    TEST_FAILS(toml_get_strv(root, "d", &mixed, &error), error, STATUS_INVALID_ARGUMENT, "strings only");
}

static void reads_vectors_of_strings(void)
{
    GError *error = NULL;
    g_autoptr(TomlTable) root =
        parse_good("a = 'x'\nb = ['x', 'y']\nc = [['x', 'y'], 'z']\nd = [1]\ne = {}\n");
    g_autoptr(GPtrArray) one = NULL;
    g_autoptr(GPtrArray) two = NULL;
    g_autoptr(GPtrArray) nested = NULL;
    g_autoptr(GPtrArray) none = NULL;

    TEST_OK(toml_get_strvs(root, "a", &one, &error), error);
    TEST_OK(toml_get_strvs(root, "b", &two, &error), error);
    TEST_OK(toml_get_strvs(root, "c", &nested, &error), error);
    TEST_OK(toml_get_strvs(root, "absent", &none, &error), error);
    TEST_FAILS(toml_get_strvs(root, "d", &none, &error), error, STATUS_INVALID_ARGUMENT,
               "test.toml:4: d must be");
    TEST_FAILS(toml_get_strvs(root, "e", &none, &error), error, STATUS_INVALID_ARGUMENT,
               "test.toml:5: e must be");
    CU_ASSERT_PTR_NULL(none);
    CU_ASSERT_TRUE(one != NULL && one->len == 1);
    CU_ASSERT_TRUE(two != NULL && two->len == 2);
    CU_ASSERT_FATAL(nested != NULL && nested->len == 2);
    CU_ASSERT_STRING_EQUAL(((char **)g_ptr_array_index(nested, 0))[1], "y");
    CU_ASSERT_STRING_EQUAL(((char **)g_ptr_array_index(nested, 1))[0], "z");
}

static void reads_arrays_of_tables(void)
{
    GError *error = NULL;
    g_autoptr(GPtrArray) fruits = NULL;
    g_autoptr(GPtrArray) inline_tables = NULL;
    g_autoptr(GPtrArray) none = NULL;
    g_autoptr(TomlTable) root = parse_good("list = [{n = 1}, {n = 2, deep.er = {x = 3}}]\n"
                                           "[[fruit]]\nn = 1\n[fruit.skin]\ncolour = 'red'\n"
                                           "[[fruit]]\nn = 2\n[fruit.skin]\ncolour = 'green'\n");

    TEST_OK(toml_get_tables(root, "fruit", &fruits, &error), error);
    CU_ASSERT_EQUAL_FATAL(fruits->len, 2);
    expect_int(g_ptr_array_index(fruits, 1), "n", 2);
    expect_string(toml_get_table(g_ptr_array_index(fruits, 1), "skin", NULL), "colour", "green");
    CU_ASSERT_STRING_EQUAL(toml_path(g_ptr_array_index(fruits, 1)), "fruit[1]");
    TEST_OK(toml_get_tables(root, "list", &inline_tables, &error), error);
    CU_ASSERT_EQUAL_FATAL(inline_tables->len, 2);
    expect_int(g_ptr_array_index(inline_tables, 0), "n", 1);
    TEST_OK(toml_get_tables(root, "absent", &none, &error), error);
    CU_ASSERT_EQUAL(none->len, 0);
}

static void absent_keys_change_nothing(void)
{
    GError *error = NULL;
    g_autoptr(TomlTable) root = parse_good("");
    char *string = (char *)(gpointer) "before";
    gint64 integer = 7;

    TEST_OK(toml_get_string(root, "x", &string, &error), error);
    TEST_OK(toml_get_int(root, "x", &integer, &error), error);
    CU_ASSERT_STRING_EQUAL(string, "before");
    CU_ASSERT_EQUAL(integer, 7);
    CU_ASSERT_PTR_NULL(toml_get_table(root, "x", &error));
    CU_ASSERT_PTR_NULL(error);
    CU_ASSERT_EQUAL(toml_line(root, "x"), 0);
}

static void a_wrong_type_names_file_line_and_key(void)
{
    GError *error = NULL;
    g_autoptr(TomlTable) root = parse_good("[a.b]\nc = 1\nd = 'x'\n");
    const TomlTable *table = toml_get_table(toml_get_table(root, "a", NULL), "b", NULL);
    g_autofree char *string = NULL;
    gint64 integer;

    TEST_FAILS(toml_get_string(table, "c", &string, &error), error, STATUS_INVALID_ARGUMENT,
               "test.toml:2: a.b.c must be a string");
    TEST_FAILS(toml_get_int(table, "d", &integer, &error), error, STATUS_INVALID_ARGUMENT,
               "test.toml:3: a.b.d must be an integer");
    TEST_FAILS(toml_get_table(table, "d", &error) != NULL, error, STATUS_INVALID_ARGUMENT, "must be a table");
}

static void unknown_keys_are_named(void)
{
    static const char *const known[] = {"good", NULL};
    GError *error = NULL;
    g_autoptr(TomlTable) root = parse_good("good = 1\nbda = 2\n");

    TEST_FAILS(toml_check_keys(root, known, &error), error, STATUS_INVALID_ARGUMENT,
               "test.toml:2: bda is not a known setting");
}

static void refuses_what_is_defined_twice(void)
{
    expect_bad("a = 1\na = 2", "test.toml:2: a is defined already, in line 1");
    expect_bad("[a]\n[a]", "a is defined already, in line 1");
    expect_bad("[a]\nb = 1\n[a.b]", "a.b is defined already");
    expect_bad("[a]\nb.c = 1\n[a.b]", "a.b is defined already");
    expect_bad("[a.b.c]\nz = 9\n[a]\nb.c.t = 1", "a.b is defined already");
    expect_bad("a = [{b = 1}]\n[[a]]", "a is defined already");
    expect_bad("[[a]]\n[a]", "a is defined already");
    expect_bad("[a]\n[[a]]", "a is defined already");
    expect_bad("a = {b = 1}\n[a.c]", "a is defined already");
    expect_bad("a = {b = 1}\na.c = 1", "a is defined already");
    expect_bad("a = {b = 1, b = 2}", "a.b is defined already");
    expect_bad("a = 1\n\"a\" = 2", "defined already");
}

static void a_header_may_come_after_its_children(void)
{
    g_autoptr(TomlTable) root = parse_good("[a.b]\nx = 1\n[a]\ny = 2\n[a.c]\n[fruit]\napple.colour = 1\n"
                                           "[fruit.apple.taste]\n");

    expect_int(toml_get_table(root, "a", NULL), "y", 2);
}

static void refuses_bad_syntax(void)
{
    expect_bad("a", "test.toml:1: a: \"=\" was expected");
    expect_bad("= 1", "a key was expected");
    expect_bad("a = ", "a value was expected");
    expect_bad("a = 1 b = 2", "the line should end");
    expect_bad("a = \"x", "test.toml:1: a: the string is not closed");
    expect_bad("a = \"x\ny\"", "not closed");
    expect_bad("a = '''x", "not closed");
    expect_bad("a = \"\\q\"", "unknown escape");
    expect_bad("a = \"\\ud800\"", "no usable character");
    expect_bad("a = \"\\u0000\"", "no usable character");
    expect_bad("a = \"\\u12\"", "4 hexadecimal digits");
    expect_bad("a = \"\x01\"", "control character");
    expect_bad("# \x7f", "control character");
    expect_bad("a = 1\rb = 2", "the line should end");
    expect_bad("[a", "not closed");
    expect_bad("[[a]", "not closed");
    expect_bad("[a] b = 1", "the line should end");
    expect_bad("[]", "a key was expected");
    expect_bad("a = [1 2]", "\",\" or \"]\"");
    expect_bad("a = [1,\n2", "test.toml:2: a: \",\" or \"]\"");
    expect_bad("a = [,]", "a value was expected");
    expect_bad("a = {b = 1,}", "a key was expected");
    expect_bad("a = {b = 1\n}", "\",\" or \"}\"");
    expect_bad("\"\"\"a\"\"\" = 1", "\"=\" was expected");
    expect_bad("x = 1\na = \"\xff\"", "test.toml:2: the text is not valid UTF-8");
}

static void refuses_a_nul_byte(void)
{
    GError *error = NULL;
    TomlTable *root = toml_parse("a = 1\n\0b = 2", 12, "test.toml", &error);

    TEST_FAILS(root != NULL, error, STATUS_INVALID_ARGUMENT, "test.toml:2: the text is not valid UTF-8");
}

static void refuses_deep_nesting(void)
{
    g_autofree char *arrays = g_strnfill(100000, '[');
    g_autofree char *nested = g_strdup_printf("a = %s", arrays);
    g_autoptr(GString) dotted = g_string_new("a");

    for (int i = 0; i < 1000; i++)
        g_string_append(dotted, ".a");
    g_string_append(dotted, " = 1");
    expect_bad(nested, "nested too deeply");
    expect_bad(dotted->str, "nested too deeply");
}

static void a_byte_order_mark_is_ignored(void)
{
    g_autoptr(TomlTable) root = parse_good("\xef\xbb\xbf"
                                           "a = 1");

    expect_int(root, "a", 1);
}

static void a_file_that_is_missing_is_not_found(void)
{
    GError *error = NULL;
    TomlTable *root = toml_parse_file("/nonexistent/x.toml", &error);

    TEST_FAILS(root != NULL, error, STATUS_NOT_FOUND, "/nonexistent/x.toml");
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"strings of all four kinds are read", reads_strings},
        {"numbers and booleans are read", reads_numbers_and_booleans},
        {"invalid numbers are refused", refuses_bad_numbers},
        {"dates and times are refused with a message", refuses_dates_with_a_message},
        {"dotted and quoted keys are read", reads_dotted_and_quoted_keys},
        {"keys keep the order of the file", keys_keep_the_order_of_the_file},
        {"arrays are read over several lines", reads_arrays},
        {"a string, strings and lists of strings are read alike", reads_vectors_of_strings},
        {"arrays of tables are read in both forms", reads_arrays_of_tables},
        {"absent keys change nothing", absent_keys_change_nothing},
        {"the error of a wrong type names file, line and key", a_wrong_type_names_file_line_and_key},
        {"an unknown key is an error with its name", unknown_keys_are_named},
        {"a key or table that is defined twice is refused", refuses_what_is_defined_twice},
        {"a header may come after its children", a_header_may_come_after_its_children},
        {"invalid syntax is refused", refuses_bad_syntax},
        {"a NUL byte is refused", refuses_a_nul_byte},
        {"deep nesting is refused", refuses_deep_nesting},
        {"a byte order mark is ignored", a_byte_order_mark_is_ignored},
        {"a missing file is NOT_FOUND", a_file_that_is_missing_is_not_found},
    };

    return test_main_args("toml", cases, G_N_ELEMENTS(cases), argc, argv);
}
