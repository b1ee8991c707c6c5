#include "tests/unit/harness.h"

int main(void)
{
    return test_main("fileio", NULL, 0);
}
