"""What every backend promises, as pytest classes: subclass one, and give it the fixtures `stores` and `other_stores`.

    class TestMySessions(SessionContract):
        @pytest.fixture
        async def stores(self): ...        # started, and empty
        @pytest.fixture
        async def other_stores(self, stores): ...   # a second connection to the same place, started

Time is not turned in these suites: a lease or a life of zero seconds is over at once.
"""
