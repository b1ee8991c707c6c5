/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host/qemu_program.h"

#include <glib/gstdio.h>
#include <signal.h>

#include "common/error.h"
#include "sandbox/host/accelerator.h"
#include "tests/unit/harness.h"

#define DEBIAN "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright (c) 2003-2022\n"
#define OWN                                                                                                  \
    "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18, crivirt 48e176db571db7ba)\nCopyright\n"

static void parsed(void)
{
    g_auto(QemuProgram) program = {0};

    CU_ASSERT_TRUE_FATAL(qemu_program_parse(DEBIAN, &program));
    CU_ASSERT_EQUAL(program.number, 7002022);
    CU_ASSERT_STRING_EQUAL(program.version, "7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)");
    CU_ASSERT_FALSE(program.own);
    CU_ASSERT_TRUE_FATAL(qemu_program_parse(OWN, &program));
    CU_ASSERT_EQUAL(program.number, 7002022);
    CU_ASSERT_TRUE(program.own);
    CU_ASSERT_TRUE_FATAL(qemu_program_parse("QEMU emulator version 10.0.2\n", &program));
    CU_ASSERT_EQUAL(program.number, 10000002);
    CU_ASSERT_STRING_EQUAL(program.version, "10.0.2");
    CU_ASSERT_FALSE(program.own);
}

static void not_parsed(void)
{
    static const char *const outputs[] = {"",
                                          "QEMU emulator version ",
                                          "QEMU emulator version 7",
                                          "QEMU emulator version 7.2",
                                          "QEMU emulator version 7.2.",
                                          "QEMU emulator version 7.2222.1",
                                          "QEMU emulator version 7.x.1",
                                          "qemu-img version 7.2.22",
                                          "busybox"};

    for (guint i = 0; i < G_N_ELEMENTS(outputs); i++) {
        g_auto(QemuProgram) program = {0};

        CU_ASSERT_FALSE(qemu_program_parse(outputs[i], &program));
        CU_ASSERT_PTR_NULL(program.version);
    }
}

static gboolean outdated(const char *own, const char *debian)
{
    g_auto(QemuProgram) one = {0};
    g_auto(QemuProgram) other = {0};

    CU_ASSERT_TRUE_FATAL(qemu_program_parse(own, &one));
    CU_ASSERT_TRUE_FATAL(qemu_program_parse(debian, &other));
    return qemu_program_is_outdated(&one, &other);
}

static void updates(void)
{
    CU_ASSERT_FALSE(outdated(OWN, DEBIAN));
    CU_ASSERT_FALSE(outdated(OWN, "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\n"));
    CU_ASSERT_TRUE(outdated(OWN, "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u19)\n"));
    CU_ASSERT_TRUE(outdated(OWN, "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u180)\n"));
    CU_ASSERT_TRUE(outdated(OWN, "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\n"));
    CU_ASSERT_FALSE(outdated(OWN, "QEMU emulator version 10.0.2\n"));
    CU_ASSERT_FALSE(outdated(DEBIAN, OWN));
}

/* A program of that name which does what the script says. */
static char *make_program(const char *directory, const char *name, const char *script)
{
    char *path = g_build_filename(directory, name, NULL);

    CU_ASSERT_TRUE_FATAL(g_file_set_contents(path, script, -1, NULL));
    g_chmod(path, 0755);
    return path;
}

/* The message has the text with what was wished for in place of %s. */
static void fails(const char *wish, int status, const char *text)
{
    g_auto(QemuProgram) program = {0};
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) parts = g_strsplit(text, "%s", -1);
    g_autofree char *message = g_strjoinv(wish, parts);

    TEST_FAILS(qemu_program_find(wish, TRUE, &program, &error), error, status, message);
    CU_ASSERT_PTR_NULL(program.path);
}

static void wrong(void)
{
    g_autofree char *directory = g_dir_make_tmp("crivirt-qemu-XXXXXX", NULL);
    g_autofree char *name = g_strconcat("qemu-system-", accelerator_architecture(), NULL);
    g_autofree char *missing = g_build_filename(directory, "qemu-system-none", NULL);
    g_autofree char *other = make_program(directory, "busybox", "#!/bin/sh\n");
    g_autofree char *broken = make_program(directory, name, "#!/bin/sh\necho no libpixman >&2; exit 127\n");
    g_autofree char *silent_name = g_strconcat(name, "-silent", NULL);
    g_autofree char *silent = make_program(directory, silent_name, "#!/bin/sh\necho hello\n");

    fails("newest", STATUS_INVALID_ARGUMENT, "\"%s\" is not auto, debian or an absolute path");
    fails(missing, STATUS_FAILED_PRECONDITION, "cannot run %s: No such file or directory");
    fails(other, STATUS_FAILED_PRECONDITION,
          "%s is not a QEMU for this node: the name of the file has to begin with qemu-system-");
    fails(broken, STATUS_FAILED_PRECONDITION, "%s failed with exit code 127: no libpixman");
    fails(silent, STATUS_FAILED_PRECONDITION, "%s is not a QEMU");
    g_unlink(other);
    g_unlink(broken);
    g_unlink(silent);
    g_rmdir(directory);
}

static void named(void)
{
    g_autofree char *directory = g_dir_make_tmp("crivirt-qemu-XXXXXX", NULL);
    g_autofree char *name = g_strconcat("qemu-system-", accelerator_architecture(), NULL);
    g_autofree char *path =
        make_program(directory, name, "#!/bin/sh\necho 'QEMU emulator version 7.2.1 (a, crivirt b)'\n");
    g_auto(QemuProgram) program = {0};
    g_autoptr(GError) error = NULL;

    TEST_OK(qemu_program_find(path, FALSE, &program, &error), error);
    CU_ASSERT_STRING_EQUAL(program.path, path);
    CU_ASSERT_TRUE(program.named);
    CU_ASSERT_TRUE(program.own);
    CU_ASSERT_EQUAL(program.number, 7002001);
    g_unlink(path);
    g_rmdir(directory);
}

static void debian(void)
{
    g_auto(QemuProgram) program = {0};
    g_auto(QemuProgram) below_libvirtd = {0};
    g_autoptr(GError) error = NULL;

    TEST_OK(qemu_program_find("debian", TRUE, &program, &error), error);
    CU_ASSERT_FALSE(program.named);
    CU_ASSERT_TRUE(program.number >= 7002000);
    TEST_OK(qemu_program_find("auto", FALSE, &below_libvirtd, &error), error);
    CU_ASSERT_STRING_EQUAL(below_libvirtd.path, program.path);
    CU_ASSERT_FALSE(below_libvirtd.named);
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"the version is read, and whether the QEMU is crivirt's own", parsed},
        {"what is no version of QEMU is refused", not_parsed},
        {"a QEMU of crivirt's own that Debian's updates have passed is recognised", updates},
        {"an error names the program and what is wrong with it", wrong},
        {"a program that is named is chosen, and libvirt is given its path", named},
        {"Debian's is the one on PATH, and the choice below a libvirtd", debian},
    };

    signal(SIGPIPE, SIG_IGN);
    return test_main_args("qemu program", cases, G_N_ELEMENTS(cases), argc, argv);
}
