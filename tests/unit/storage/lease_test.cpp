#include "../import/support.h"
#include "coppice/import/import_image.h"
#include "coppice/storage/storage.h"

#include <gtest/gtest.h>

namespace coppice::storage {
namespace {

using namespace coppice::imports::test;

class LeaseTest : public testing::Test, protected ImportFixture {
protected:
    store::SnapshotId sealed()
    {
        directory.write("a.tar", TarMaker{}.file("a", "a").finish());
        return value_of(imports::import_image(
                            storage_->store(),
                            {.kind = imports::Source::Kind::Archive, .location = directory / "a.tar", .reference = {}},
                            {}, {.vdisk = "disk", .key = "key", .author = "tester", .message = {}, .state = {}},
                            context))
            .snapshot;
    }
    Result<> remove(const store::SnapshotId& id)
    {
        return storage_->remove({}, std::array{id}, [&](store::Txn& txn) -> Result<> {
            TRY(store::remove_version(txn, TRY(store::get_vdisk(txn, "disk")).id, 1));
            return store::remove_snapshot(txn, id);
        });
    }
    std::size_t leases()
    {
        return value_of(storage_->store().read([](const store::View& view) { return store::leases(view); })).size();
    }
    std::unique_ptr<Storage> storage_ = value_of(Storage::open(directory / "store"));
};

TEST_F(LeaseTest, ASnapshotThatIsReadForLongIsNotRemoved)
{
    const auto id = sealed();
    {
        const auto lease = value_of(storage_->lease({id}, Storage::Keep::Snapshots));
        EXPECT_EQ(leases(), 1U);
        EXPECT_TRUE(fails_as(ErrorKind::Conflict, "reader", remove(id)));
    }
    EXPECT_EQ(leases(), 0U);
    EXPECT_TRUE(succeeds(remove(id)));
}

TEST_F(LeaseTest, AMomentCostsNoLease)
{
    const auto id = sealed();
    const auto lease = value_of(storage_->lease({id}));
    EXPECT_EQ(leases(), 0U) << "there is no frozen directory that could go away";
}

TEST_F(LeaseTest, WhatAKilledProcessHeldIsReleased)
{
    const auto id = sealed();
    {
        const auto lease = value_of(storage_->lease({id}, Storage::Keep::Snapshots));
        const auto held = value_of(storage_->store().read([](const store::View& view) { return store::leases(view); }));
        // The same under another name, which nobody is going to end.
        const std::string name = held.front().id.substr(0, held.front().id.find('-') + 1) + "killed";
        value_of(storage_->store().write(
            [&](store::Txn& txn) { return store::take_lease(txn, name, id, held.front().expires); }));
    }
    EXPECT_EQ(leases(), 1U);
    storage_.reset();
    storage_ = value_of(Storage::open(directory / "store"));
    EXPECT_EQ(leases(), 0U);
}

} // namespace
} // namespace coppice::storage
