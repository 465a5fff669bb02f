// Needs: loop devices and devpts, both with root.

#include "coppice/os/loop_device.h"

#include "coppice/os/file.h"
#include "coppice/os/mount.h"
#include "coppice/os/terminal.h"
#include "coppice/test/child.h"
#include "coppice/test/expect.h"
#include "coppice/test/needs.h"
#include "coppice/test/temp_dir.h"

#include <filesystem>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace coppice::os {
namespace {

namespace fs = std::filesystem;
using test::fails_as;
using test::succeeds;
using test::value_of;

class LoopDeviceTest : public testing::Test {
protected:
    LoopDeviceTest() { directory_.write("image", std::string(1U << 16, 'i')); }
    LoopDevice attach(const std::string& name = "image") const
    {
        return value_of(LoopDevice::over(value_of(open_at(directory_.fd(), name, O_RDONLY)), directory_ / name));
    }
    /// Whether any device shows the file.
    bool is_attached(const std::string& name = "image") const
    {
        for (const auto& block : fs::directory_iterator{"/sys/block"}) {
            const auto file = block.path() / "loop/backing_file";
            std::error_code ignored;
            if (fs::exists(file, ignored) && test::read_text(file).starts_with(directory_ / name)) return true;
        }
        return false;
    }
    test::TempDir directory_;
};

TEST_F(LoopDeviceTest, OneDeviceForOneImage)
{
    COPPICE_NEEDS(Root, LoopDevices);
    {
        const auto first = attach();
        const auto second = attach();
        EXPECT_EQ(first.path(), second.path());
        fs::create_hard_link(directory_ / "image", directory_ / "alias");
        EXPECT_EQ(attach("alias").path(), first.path()) << "the file counts, not its name";
        directory_.write("other", std::string(1U << 16, 'o'));
        const auto other = attach("other");
        EXPECT_NE(other.path(), first.path());
        EXPECT_EQ(value_of(read_all(value_of(open_at(kCwd, first.path(), O_RDONLY)), 1U << 20, "device")),
                  directory_.read("image"));
        EXPECT_EQ(value_of(read_all(value_of(open_at(kCwd, other.path(), O_RDONLY)), 1U << 20, "device")),
                  directory_.read("other"));
        EXPECT_TRUE(is_attached());
    }
    EXPECT_TRUE(test::wait_until([&] { return !is_attached() && !is_attached("other"); })) << "a device is left";
}

TEST_F(LoopDeviceTest, IsReadOnly)
{
    COPPICE_NEEDS(Root, LoopDevices);
    const auto device = attach();
    const auto writing = open_at(kCwd, device.path(), O_WRONLY);
    EXPECT_TRUE(!writing || ::write(writing->get(), "x", 1) < 0);
    EXPECT_EQ(directory_.read("image"), std::string(1U << 16, 'i'));
}

TEST_F(LoopDeviceTest, ManyAtOnceShareOne)
{
    COPPICE_NEEDS(Root, LoopDevices);
    std::vector<Process> starters;
    for (int i = 0; i < 6; ++i)
        starters.push_back(value_of(fork_process({}, [&, i] {
            const auto device = attach();
            test::write_text(directory_ / ("path" + std::to_string(i) + ".new"), device.path());
            fs::rename(directory_ / ("path" + std::to_string(i) + ".new"), directory_ / ("path" + std::to_string(i)));
            ::pause();
            return 0;
        })));
    for (int i = 0; i < 6; ++i) {
        const std::string name = "path" + std::to_string(i);
        ASSERT_TRUE(test::wait_until([&] { return directory_.exists(name); })) << i;
        EXPECT_EQ(directory_.read(name), directory_.read("path0"));
    }
    starters.clear();
    EXPECT_TRUE(test::wait_until([&] { return !is_attached(); })) << "killed processes leave no device";
}

TEST_F(LoopDeviceTest, ADirectoryHasNone)
{
    COPPICE_NEEDS(Root, LoopDevices);
    EXPECT_FALSE(LoopDevice::over(value_of(open_at(kCwd, directory_.path(), O_RDONLY)), "directory"));
}

class TerminalTest : public testing::Test {
protected:
    void SetUp() override
    {
        COPPICE_NEEDS(Root);
        directory_.make_directory("dev/pts");
        const auto devpts = value_of(new_file_system("devpts", {{"newinstance", ""}, {"ptmxmode", "0666"}}, 0));
        ASSERT_TRUE(succeeds(attach_mount(devpts.get(), kCwd, directory_ / "dev/pts")));
    }
    Result<Pty> open(const std::string& ptmx) const { return open_pty(directory_.fd(), ptmx); }
    test::TempDir directory_;
};

TEST_F(TerminalTest, BothSidesOfAPty)
{
    fs::create_symlink("pts/ptmx", directory_ / "dev/ptmx");
    const auto pty = value_of(open("/dev/ptmx"));
    EXPECT_EQ(::isatty(pty.slave.get()), 1);
    EXPECT_EQ(pty.slave_name, "/dev/pts/0");
    ASSERT_TRUE(succeeds(write_all(pty.slave.get(), "hello\n", "slave")));
    char text[16]{};
    EXPECT_EQ(::read(pty.master.get(), text, sizeof text), 7);
    EXPECT_STREQ(text, "hello\r\n");
    ASSERT_TRUE(succeeds(set_terminal_size(pty.master, 24, 80)));
    const auto size = value_of(terminal_size(pty.slave.get()));
    EXPECT_EQ(size.rows, 24);
    EXPECT_EQ(size.columns, 80);
}

TEST_F(TerminalTest, AForgedMultiplexerIsRefused)
{
    const auto node = [&](const char* name, mode_t mode, dev_t device) {
        ASSERT_EQ(::mknod((directory_ / name).c_str(), mode | 0666, device), 0) << name;
    };
    // The real device number, but a node of the image: the kernel would serve it from whatever lies at dev/pts.
    node("dev/ptmx", S_IFCHR, makedev(5, 2));
    node("dev/null", S_IFCHR, makedev(1, 3));
    directory_.write("dev/file", "");
    fs::create_symlink("/proc/self/fd/0", directory_ / "dev/link");
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "not the terminal multiplexer", open("dev/ptmx")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "not the terminal multiplexer", open("dev/null")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "not the terminal multiplexer", open("dev/file")));
    EXPECT_FALSE(open("dev/link"));
    EXPECT_FALSE(open("dev/missing"));
    // A terminal of that devpts is not its multiplexer.
    const auto pty = value_of(open("dev/pts/ptmx"));
    EXPECT_FALSE(open("dev/pts/0"));
    // One of the host cannot be reached by a link.
    fs::create_symlink("../../../../../../../dev/ptmx", directory_ / "dev/host");
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "not the terminal multiplexer", open("dev/host")));
}

TEST_F(TerminalTest, RawModeIsGivenBack)
{
    const auto pty = value_of(open("dev/pts/ptmx"));
    termios before{};
    ASSERT_EQ(::tcgetattr(pty.slave.get(), &before), 0);
    const auto lflag = [&] {
        termios now{};
        ::tcgetattr(pty.slave.get(), &now);
        return now.c_lflag;
    };
    {
        const auto raw = value_of(RawMode::enter(pty.slave.get()));
        EXPECT_EQ(lflag() & (ECHO | ICANON | ISIG), 0U);
    }
    EXPECT_EQ(lflag(), before.c_lflag);
    EXPECT_FALSE(RawMode::enter(directory_.fd()));
}

} // namespace
} // namespace coppice::os
