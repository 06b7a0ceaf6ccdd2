-- The natural key without the nanoseconds. MariaDB alone wants the table named, and alone reads what is in
-- this comment.
DROP INDEX passage_natural_key /*! ON passage */;
