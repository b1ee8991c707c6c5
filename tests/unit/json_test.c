/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json.h"

#include <string.h>

#include "common/error.h"
#include "common/json_writer.h"
#include "tests/unit/harness.h"

static JsonDocument *parse(const char *text)
{
    g_autoptr(GError) error = NULL;
    JsonDocument *document = json_document_parse(text, strlen(text), "manifest", NULL, &error);

    TEST_OK(document != NULL, error);
    return document;
}

static void is_refused(const char *text, gsize length, const JsonLimits *limits, const char *message)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonDocument) document = json_document_parse(text, length, "manifest", limits, &error);

    TEST_FAILS(document != NULL, error, STATUS_INVALID_ARGUMENT, message);
}

static void values_are_read_by_type(void)
{
    g_autoptr(JsonDocument) document =
        parse("{\"name\": \"web\\u00e9\", \"size\": 12, \"on\": true, \"least\": -5,"
              " \"tags\": [\"a\", \"b\"], \"inner\": {\"x\": 1.5e3}} // a comment");
    const JsonValue *root = json_document_root(document);
    const char *name = NULL;
    guint64 size = 0;
    gint64 least = 0;
    gboolean on = FALSE;
    g_auto(GStrv) tags = NULL;
    const JsonValue *inner = NULL;
    g_autoptr(GError) error = NULL;

    TEST_OK(json_get_string(root, "name", &name, &error), error);
    CU_ASSERT_STRING_EQUAL(name, "web\xc3\xa9");
    TEST_OK(json_get_uint(root, "size", 100, &size, &error), error);
    CU_ASSERT_EQUAL(size, 12);
    TEST_OK(json_get_int(root, "least", -10, 10, &least, &error), error);
    CU_ASSERT_EQUAL(least, -5);
    TEST_OK(json_get_bool(root, "on", &on, &error), error);
    CU_ASSERT_TRUE(on);
    TEST_OK(json_get_strv(root, "tags", 2, &tags, &error), error);
    CU_ASSERT_STRING_EQUAL(tags[1], "b");
    CU_ASSERT_PTR_NULL(tags[2]);
    TEST_OK(json_get_object(root, "inner", &inner, &error), error);
    CU_ASSERT_STRING_EQUAL(json_digits(json_member(inner, "x")), "1.5e3");
    CU_ASSERT_EQUAL(json_length(root), 6);
    CU_ASSERT_STRING_EQUAL(json_key(json_at(root, 1)), "size");
    CU_ASSERT_PTR_NULL(json_key(root));
}

static void missing_and_null_leave_the_output_alone(void)
{
    g_autoptr(JsonDocument) document = parse("{\"null\": null}");
    const JsonValue *root = json_document_root(document);
    const char *name = "before";
    guint64 size = 7;
    g_autoptr(GError) error = NULL;

    TEST_OK(json_get_string(root, "absent", &name, &error), error);
    TEST_OK(json_get_string(root, "null", &name, &error), error);
    TEST_OK(json_get_string(NULL, "any", &name, &error), error);
    TEST_OK(json_get_uint(root, "null", 9, &size, &error), error);
    CU_ASSERT_STRING_EQUAL(name, "before");
    CU_ASSERT_EQUAL(size, 7);
}

static void missing_null_and_wrong_type_differ(void)
{
    g_autoptr(JsonDocument) document = parse("{\"null\": null, \"number\": 1, \"list\": [2]}");
    const JsonValue *root = json_document_root(document);
    const char *text = NULL;
    g_autoptr(GError) error = NULL;

    CU_ASSERT_PTR_NULL(json_member(root, "absent"));
    CU_ASSERT_TRUE(json_is(json_member(root, "null"), JSON_NULL));
    TEST_FAILS(json_require(root, "absent", &error), error, STATUS_INVALID_ARGUMENT,
               "manifest.absent: missing");
    TEST_FAILS(json_require(root, "null", &error), error, STATUS_INVALID_ARGUMENT,
               "manifest.null: must not be null");
    TEST_FAILS(json_get_string(root, "number", &text, &error), error, STATUS_INVALID_ARGUMENT,
               "manifest.number: expected a string");
    TEST_FAILS(json_get_string(json_member(root, "list"), "x", &text, &error), error, STATUS_INVALID_ARGUMENT,
               "manifest.list: expected an object");
    TEST_FAILS(json_require(json_member(root, "list"), "x", &error), error, STATUS_INVALID_ARGUMENT,
               "manifest.list: expected an object");
    CU_ASSERT_PTR_NOT_NULL(json_require(root, "number", &error));
    CU_ASSERT_PTR_NULL(text);
}

static void error_names_the_path(void)
{
    g_autoptr(JsonDocument) document =
        parse("{\"layers\": [0, {}, {}, {\"size\": \"x\", \"a b\\n\": {\"deep\": 1}}]}");
    const JsonValue *layer = json_at(json_member(json_document_root(document), "layers"), 3);
    guint64 size = 0;
    gboolean deep;
    g_autoptr(GError) error = NULL;

    TEST_FAILS(json_get_uint(layer, "size", 9, &size, &error), error, STATUS_INVALID_ARGUMENT,
               "manifest.layers[3].size: expected a whole number");
    TEST_FAILS(json_get_bool(json_member(layer, "a b\n"), "deep", &deep, &error), error,
               STATUS_INVALID_ARGUMENT, "manifest.layers[3][\"a b\\n\"].deep: expected true or false");
    TEST_FAILS(json_fail(layer, &error, "digest %d is wrong", 1), error, STATUS_INVALID_ARGUMENT,
               "manifest.layers[3]: digest 1 is wrong");
}

static void file_name_is_apart_from_the_path(void)
{
    static const char text[] = "[{\"type\": 1}]";
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonDocument) document =
        json_document_parse(text, strlen(text), "/etc/cni/net.d/10.conf", NULL, &error);
    const char *type = NULL;

    TEST_OK(document != NULL, error);
    TEST_FAILS(json_get_string(json_at(json_document_root(document), 0), "type", &type, &error), error,
               STATUS_INVALID_ARGUMENT, "/etc/cni/net.d/10.conf: [0].type: expected a string");
    TEST_FAILS(json_document_object(document, &error), error, STATUS_INVALID_ARGUMENT,
               "/etc/cni/net.d/10.conf: expected an object");
}

static void long_path_is_cut(void)
{
    g_autofree char *key = g_strnfill(5000, 'k');
    g_autofree char *text = g_strdup_printf("{\"%s\": 1}", key);
    g_autoptr(JsonDocument) document = parse(text);
    g_autofree char *path = json_path(json_at(json_document_root(document), 0));

    CU_ASSERT_TRUE(strlen(path) < 100);
}

static void numbers_have_limits(void)
{
    g_autoptr(JsonDocument) document =
        parse("{\"large\": 18446744073709551615, \"larger\": 18446744073709551616,"
              " \"minus\": -1, \"fraction\": 1.0, \"exponent\": 1e3}");
    const JsonValue *root = json_document_root(document);
    guint64 number = 3;
    guint32 small = 3;
    gint64 whole = 3;
    g_autoptr(GError) error = NULL;

    TEST_OK(json_get_uint(root, "large", G_MAXUINT64, &number, &error), error);
    CU_ASSERT_EQUAL(number, G_MAXUINT64);
    TEST_FAILS(json_get_uint(root, "larger", G_MAXUINT64, &number, &error), error, STATUS_INVALID_ARGUMENT,
               "from 0 to 18446744073709551615");
    TEST_FAILS(json_get_uint(root, "minus", 9, &number, &error), error, STATUS_INVALID_ARGUMENT,
               "from 0 to 9");
    TEST_FAILS(json_get_uint32(root, "large", &small, &error), error, STATUS_INVALID_ARGUMENT,
               "from 0 to 4294967295");
    TEST_FAILS(json_get_uint32(root, "fraction", &small, &error), error, STATUS_INVALID_ARGUMENT,
               "expected a whole number");
    TEST_FAILS(json_get_int(root, "exponent", 0, 9999, &whole, &error), error, STATUS_INVALID_ARGUMENT,
               "expected a whole number");
    TEST_FAILS(json_get_int(root, "minus", 0, 9, &whole, &error), error, STATUS_INVALID_ARGUMENT,
               "from 0 to 9");
    CU_ASSERT_EQUAL(small, 3);
    CU_ASSERT_EQUAL(whole, 3);
}

static void line_has_no_control_characters(void)
{
    g_autoptr(JsonDocument) document = parse("{\"text\": \"a\\nb\", \"list\": [\"ok\", \"\\u0007\"]}");
    const JsonValue *root = json_document_root(document);
    const char *text = NULL;
    g_auto(GStrv) list = NULL;
    g_autoptr(GError) error = NULL;

    TEST_OK(json_get_string(root, "text", &text, &error), error);
    CU_ASSERT_STRING_EQUAL(text, "a\nb");
    TEST_FAILS(json_get_line(root, "text", &text, &error), error, STATUS_INVALID_ARGUMENT,
               "manifest.text: expected a string without control characters");
    TEST_FAILS(json_get_lines(root, "list", 9, &list, &error), error, STATUS_INVALID_ARGUMENT,
               "manifest.list[1]: expected a string without control characters");
    TEST_FAILS(json_get_strv(root, "list", 1, &list, &error), error, STATUS_INVALID_ARGUMENT,
               "manifest.list: more than 1 elements");
    CU_ASSERT_PTR_NULL(list);
}

static void invalid_text_is_refused(void)
{
    is_refused("", 0, NULL, "manifest: not valid JSON: it is empty");
    is_refused("{", 1, NULL, "not valid JSON: premature EOF near byte 1");
    is_refused("{\"a\":1} x", 9, NULL, "trailing garbage");
    is_refused("{a:1}", 5, NULL, "near byte");
    is_refused("{\"a\":\0}", 7, NULL, "a NUL at byte 5");
    is_refused("\"\xff\"", 3, NULL, "invalid UTF-8 at byte 1");
    is_refused("\"\xc0\xaf\"", 4, NULL, "invalid UTF-8 at byte 1");
    is_refused("{\"a\":[\"b\\u0000c\"]}", 18, NULL, "manifest.a: a string holds a NUL or is not valid UTF-8");
    is_refused("\"\\udc00\"", 8, NULL, "a string holds a NUL or is not valid UTF-8");
    is_refused("   ", 3, NULL, "not valid JSON");
    is_refused("// only a comment\n", 18, NULL, "not valid JSON");
}

static void the_last_of_equal_keys_counts_where_that_is_asked_for(void)
{
    static const char text[] =
        "{\"a\": 1, \"b\": {\"x\": [0], \"x\": 2}, \"a\": null, \"c\": 3, \"a\": \"last\"}";
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonDocument) document =
        json_document_parse(text, strlen(text), "manifest", &json_lenient, &error);
    const JsonValue *root;
    const char *last = NULL;

    TEST_OK(document != NULL, error);
    root = json_document_root(document);
    CU_ASSERT_EQUAL(json_length(root), 3);
    TEST_OK(json_get_string(root, "a", &last, &error), error);
    CU_ASSERT_STRING_EQUAL(last, "last");
    CU_ASSERT_EQUAL(json_length(json_member(root, "b")), 1);
    CU_ASSERT_STRING_EQUAL(json_digits(json_member(json_member(root, "b"), "x")), "2");
    CU_ASSERT_STRING_EQUAL(json_key(json_at(root, 1)), "c");
}

static void key_that_occurs_twice_is_refused(void)
{
    static const char text[] = "{\"a\": [{\"x\": 1, \"y\": 2, \"x\": 3}]}";

    is_refused(text, strlen(text), NULL, "manifest.a[0].x: the key occurs twice");
    json_document_free(parse("{\"x\": {\"x\": [{\"x\": 1}, {\"x\": 2}]}}"));
}

static void documents_are_bounded(void)
{
    static const JsonLimits small = {.max_bytes = 40, .max_depth = 3, .max_values = 5, .max_string_bytes = 6};
    g_autofree char *brackets = g_strnfill(1 << 20, '[');
    g_autoptr(JsonDocument) fits = NULL;
    g_autoptr(GError) error = NULL;

    is_refused(brackets, strlen(brackets), NULL, "manifest: nested more than 64 deep");
    is_refused("[[[[1]]]]", 9, &small, "nested more than 3 deep");
    is_refused("[1,2,3,4,5]", 11, &small, "more than 5 values");
    is_refused("[\"1234567\"]", 11, &small, "manifest: a string is too long");
    is_refused("{\"1234567\":1}", 13, &small, "a string is too long");
    is_refused("[                                        ]", 42, &small, "larger than 40 bytes");
    fits = json_document_parse("[[[\"123456\"]]]", 14, "manifest", &small, &error);
    TEST_OK(fits != NULL, error);
}

static void tolerant_lookups_find_or_do_not(void)
{
    static const char *const deep[] = {"a", "b", NULL};
    static const char *const number[] = {"a", "n", NULL};
    static const char *const absent[] = {"a", "b", "c", NULL};
    g_autoptr(JsonDocument) document = parse("{\"a\": {\"b\": \"text\", \"n\": 4}}");
    const JsonValue *root = json_document_root(document);
    gint64 found = 0;

    CU_ASSERT_STRING_EQUAL(json_find_string(root, deep), "text");
    CU_ASSERT_TRUE(json_find_int(root, number, &found));
    CU_ASSERT_EQUAL(found, 4);
    CU_ASSERT_FALSE(json_find_int(root, deep, &found));
    CU_ASSERT_PTR_NULL(json_find_string(root, number));
    CU_ASSERT_PTR_NULL(json_find_string(root, absent));
    CU_ASSERT_PTR_NULL(json_find_string(NULL, deep));
}

static void document_is_written_as_it_was_read(void)
{
    static const char text[] =
        "{\"a\":[1,1.50,1e3,18446744073709551616,-0],\"b\":{\"c\":null,\"d\":true,\"e\":false},"
        "\"f\":\"\\\"\\n\xc3\xa9\"}";
    static const char *const omitted[] = {"b", "f", NULL};
    g_autoptr(JsonDocument) document = parse(text);
    g_autoptr(JsonWriter) writer = json_writer_new();
    g_autoptr(JsonWriter) part = json_writer_new();

    json_writer_value(writer, NULL, json_document_root(document));
    CU_ASSERT_STRING_EQUAL(json_writer_text(writer, NULL), text);
    json_writer_open_object(part, NULL);
    json_writer_members(part, json_document_root(document), omitted);
    json_writer_close_object(part);
    CU_ASSERT_STRING_EQUAL(json_writer_text(part, NULL), "{\"a\":[1,1.50,1e3,18446744073709551616,-0]}");
}

static void members_and_elements_are_written(void)
{
    static const char *const strings[] = {"x", "y", NULL};
    g_autoptr(JsonWriter) writer = json_writer_new();
    g_autofree char *copy = NULL;
    gsize length = 0;

    json_writer_open_object(writer, NULL);
    json_writer_string(writer, "bad", "a\xff");
    json_writer_string(writer, "none", NULL);
    json_writer_uint(writer, "large", G_MAXUINT64);
    json_writer_int(writer, "least", G_MININT64);
    json_writer_bool(writer, "on", TRUE);
    json_writer_double(writer, "inf", 1e308 * 10);
    json_writer_strings(writer, "all", strings, -1);
    json_writer_strings(writer, "one", strings, 1);
    json_writer_strings(writer, "empty", NULL, -1);
    json_writer_embed(writer, "json", "{\"k\": [1, 2]}");
    json_writer_embed(writer, "text", "{no json");
    json_writer_close_object(writer);
    copy = json_writer_copy(writer);
    CU_ASSERT_STRING_EQUAL(copy, "{\"bad\":\"a\xef\xbf\xbd\",\"none\":\"\",\"large\":18446744073709551615,"
                                 "\"least\":-9223372036854775808,\"on\":true,\"inf\":\"Infinity\","
                                 "\"all\":[\"x\",\"y\"],\"one\":[\"x\"],\"empty\":[],\"json\":{\"k\":[1,2]},"
                                 "\"text\":\"{no json\"}");
    CU_ASSERT_STRING_EQUAL(json_writer_text(writer, &length), copy);
    CU_ASSERT_EQUAL(length, strlen(copy));
}

static void indented_document_ends_with_a_newline(void)
{
    g_autoptr(JsonWriter) writer = json_writer_new_indented();

    json_writer_open_object(writer, NULL);
    json_writer_int(writer, "a", 1);
    json_writer_close_object(writer);
    CU_ASSERT_STRING_EQUAL(json_writer_text(writer, NULL), "{\n  \"a\": 1\n}\n");
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"values are read by type", values_are_read_by_type},
        {"a missing key and null leave the output alone", missing_and_null_leave_the_output_alone},
        {"a missing key, null and a wrong type are distinguished", missing_null_and_wrong_type_differ},
        {"an error names the path of the value", error_names_the_path},
        {"an error separates the name of the file from the path in it", file_name_is_apart_from_the_path},
        {"a path with a long key is shortened", long_path_is_cut},
        {"a number outside its limits is refused", numbers_have_limits},
        {"a line has no control characters", line_has_no_control_characters},
        {"text that is not valid JSON is refused", invalid_text_is_refused},
        {"a key that occurs twice is refused", key_that_occurs_twice_is_refused},
        {"the last of equal keys counts where that is asked for",
         the_last_of_equal_keys_counts_where_that_is_asked_for},
        {"size, depth, values and strings are bounded", documents_are_bounded},
        {"a tolerant lookup returns nothing for what is not there", tolerant_lookups_find_or_do_not},
        {"a document is written as it was read", document_is_written_as_it_was_read},
        {"members and elements of each type are written", members_and_elements_are_written},
        {"an indented document ends with a newline", indented_document_ends_with_a_newline},
    };

    return test_main_args("json", cases, G_N_ELEMENTS(cases), argc, argv);
}
