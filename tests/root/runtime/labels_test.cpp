// Needs: root. Where a security module's label is written, in the test program's own mount namespace.

#include "labels.h"

#include "coppice/os/file.h"
#include "coppice/os/mount.h"
#include "coppice/test/child.h"
#include "coppice/test/expect.h"
#include "coppice/test/needs.h"
#include "coppice/test/temp_dir.h"

#include <sched.h>

namespace coppice::runtime {
namespace {

using test::fails_as;
using test::in_child;
using test::succeeds;
using test::value_of;

class LabelFileTest : public testing::Test {
protected:
    void SetUp() override
    {
        COPPICE_NEEDS(Root);
        if (!os::exists(os::kCwd, "/proc/self/attr/exec")) GTEST_SKIP() << "needs a kernel with CONFIG_SECURITY";
        directory_.write("forged/self/attr/exec", "untouched");
    }
    Result<> cover(const std::string& source, const std::string& target)
    {
        const auto mount = TRY(os::clone_mount(os::kCwd, directory_ / source, false));
        return os::attach_mount(mount.get(), os::kCwd, target);
    }
    test::TempDir directory_;
};

TEST_F(LabelFileTest, IsTheKernelsOwn) { EXPECT_TRUE(succeeds(open_label_file("exec"))); }

TEST_F(LabelFileTest, AForgedProcCatchesNoLabel) // CVE-2019-16884
{
    EXPECT_TRUE(in_child(CLONE_NEWNS, [&] {
        ASSERT_TRUE(succeeds(cover("forged", "/proc")));
        EXPECT_TRUE(fails_as(ErrorKind::Denied, "not the kernel's own", open_label_file("exec")));
    }));
}

TEST_F(LabelFileTest, AFileMountedOverItCatchesNoLabel) // CVE-2025-52881
{
    EXPECT_TRUE(in_child(CLONE_NEWNS, [&] {
        ASSERT_TRUE(succeeds(cover("forged/self/attr/exec", "/proc/self/attr/exec")));
        EXPECT_EQ(open_label_file("exec").error().os_errno(), EXDEV);
        EXPECT_EQ(directory_.read("forged/self/attr/exec"), "untouched");
    }));
}

} // namespace
} // namespace coppice::runtime
